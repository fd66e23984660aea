//! Atomics and the lock of the seam, which loom replaces where it models it.

#[cfg(not(portcullis_loom))]
mod real {
    pub(in crate::breaker) use std::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };

    /// The accesses on both sides are `SeqCst`, which is enough.
    pub(in crate::breaker) const fn fence() {}
}

/// loom takes a `SeqCst` access for an acquiring and releasing one, so it needs the fence that the language does not.
#[cfg(portcullis_loom)]
mod real {
    pub(in crate::breaker) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };

    pub(in crate::breaker) fn fence() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

pub(super) use real::*;

/// Alone on its cache lines: two, since processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);
