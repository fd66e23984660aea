//! Atomics and the lock of the seam, which loom replaces where it models it.

#[cfg(portcullis_loom)]
pub(super) use loom::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};
#[cfg(not(portcullis_loom))]
pub(super) use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};
