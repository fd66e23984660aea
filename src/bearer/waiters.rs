//! Who is woken when the fetch has news: all who wait, since any of them may be gone, or polled no more.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
};

use crate::time::{Clock, Tick};

/// The waker of the fetch, and of those who wait for it.
pub(super) struct Waiters {
    clock: Clock,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    joined: u64,
    wakers: BTreeMap<u64, Waker>,
    /// Since when the fetch has news that nobody has looked at.
    news: Option<Tick>,
}

impl Waiters {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, list: Mutex::default() }
    }

    /// A number for one who will wait.
    pub(super) fn join(&self) -> u64 {
        let mut list = self.lock();
        list.joined += 1;
        list.joined
    }

    /// Wakes `waker` at the next news.
    pub(super) fn wait(&self, number: u64, waker: &Waker) {
        let waker = waker.clone();
        let old = self.lock().wakers.insert(number, waker);
        // Once the lock is free: with a waker goes whatever its task holds.
        drop(old);
    }

    pub(super) fn leave(&self, number: u64) {
        let waker = self.lock().wakers.remove(&number);
        drop(waker);
    }

    pub(super) fn has_news(&self) -> bool {
        self.lock().news.is_some()
    }

    /// Since when there were news, which are looked at now.
    pub(super) fn take_news(&self) -> Option<Tick> {
        self.lock().news.take()
    }

    /// Has all who wait look again.
    pub(super) fn rouse(&self) {
        let wakers = mem::take(&mut self.lock().wakers);
        for waker in wakers.into_values() {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        // Nothing under the lock can panic half-way: no code of others runs there.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let now = self.clock.now();
        self.lock().news.get_or_insert(now);
        self.rouse();
    }
}
