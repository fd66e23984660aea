//! What the bell is made of, as std and tokio document it, with loom's atomics: whether a cell is set, and how often waiters
//! were notified. loom has neither of the two.

use std::sync::Arc;

use loom::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    set: AtomicBool,
    /// Only those who may initialise wait for each other.
    initialising: Mutex<()>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self { value: std::sync::OnceLock::new(), set: AtomicBool::new(false), initialising: Mutex::new(()) }
    }
}

impl<T> OnceLock<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.get().filter(|_| self.set.load(Ordering::Acquire))
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        let _initialising = self.initialising.lock().unwrap();
        let value = self.value.get_or_init(init);
        self.set.store(true, Ordering::Release);
        value
    }
}

#[derive(Default)]
pub(crate) struct Notify(AtomicUsize);

pub(crate) struct Heard {
    notify: Arc<Notify>,
    calls: usize,
}

impl Notify {
    pub(crate) fn notified_owned(self: Arc<Self>) -> Heard {
        let calls = self.0.load(Ordering::Acquire);
        Heard { notify: self, calls }
    }

    pub(crate) fn notify_waiters(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Heard {
    pub(crate) fn is_heard(&self) -> bool {
        self.notify.0.load(Ordering::SeqCst) != self.calls
    }
}
