//! Which stripe a thread writes, and how many stripes there are.

use std::{
    cell::Cell,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// As many as threads run at once, up to eight; a power of two.
pub(super) fn stripes() -> usize {
    static STRIPES: LazyLock<usize> =
        LazyLock::new(|| thread::available_parallelism().map_or(1, |threads| threads.get().next_power_of_two().min(8)));
    *STRIPES
}

/// The number of this thread, which picks its stripe: threads are numbered one after the other, as they first ask.
#[inline]
pub(super) fn number() -> usize {
    const NONE: usize = usize::MAX;
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    }
    #[cold]
    fn next() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: a number is all that is taken here.
        let number = NEXT.fetch_add(1, Ordering::Relaxed) & (NONE >> 1);
        NUMBER.set(number);
        number
    }
    match NUMBER.get() {
        NONE => next(),
        number => number,
    }
}
