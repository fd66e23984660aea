//! Atomics and the lock of the seam, which loom replaces where it models it.

#[cfg(not(portcullis_loom))]
mod real {
    pub(in crate::breaker) use std::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };

    pub(in crate::breaker) use std::sync::OnceLock;

    pub(in crate::breaker) use tokio::sync::{Notify, futures::OwnedNotified as Heard};

    /// The accesses on both sides are `SeqCst`, which is enough.
    pub(in crate::breaker) const fn fence() {}

    /// Where the accesses on both sides are not ours to choose.
    pub(in crate::breaker) fn fence_all() {
        std::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// loom takes a `SeqCst` access for an acquiring and releasing one, so it needs the fence that the language does not.
#[cfg(portcullis_loom)]
mod real {
    pub(in crate::breaker) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };

    pub(in crate::breaker) use crate::stand_in::{Heard, Notify, OnceLock};

    pub(in crate::breaker) fn fence() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }

    pub(in crate::breaker) use fence as fence_all;
}

pub(super) use real::*;

/// Alone on its cache lines: two, since processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);
