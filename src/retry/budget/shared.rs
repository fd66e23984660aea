//! The seam: all that threads share of a budget. Time is an argument; no user code runs here.
//!
//! A request adds one to a total. A retry is decided by one compare-and-swap of the account, and whoever is first to ask in a
//! new bucket turns the ring under the lock.
//!
//! Why each race is harmless:
//!
//! * Two who ask for the last retry both try to swap the same account: one finds it changed, and asks again.
//! * The total may have grown since it was read, which would only allow more.
//! * A ring that turns meanwhile changes the account, which names its lap. Whoever has read the one before asks again, so that a
//!   retry is counted in the lap that its withdrawal names. A name comes back after 256 laps, and so an account might, for a
//!   thread that slept so long: the retry is covered then as it was before, and only a withdrawal of it would name a lap
//!   that is over, and give nothing back.
//! * How many retries the bucket that ends has seen is read from the account that the turn replaces: none is lost, and none
//!   counted twice.

use std::sync::PoisonError;

use super::{
    account::{Account, PRICE, Ring, Terms},
    sync::{AtomicU64, Mutex, Ordering},
};
use crate::time::Tick;

/// In this order: what every request writes is beside the count of references, which it writes too.
#[repr(C)]
pub(super) struct Shared {
    requests: AtomicU64,
    account: AtomicU64,
    /// The ring's newest lap, once the account is of it.
    lap: AtomicU64,
    terms: Terms,
    ring: Mutex<Ring>,
}

impl Shared {
    pub(super) fn new(terms: Terms, now: Tick) -> Self {
        let lap = terms.lap(now);
        let (ring, account) = Ring::new(&terms, lap);
        let word = AtomicU64::new;
        Self { requests: word(0), account: word(account.0), lap: word(lap), terms, ring: Mutex::new(ring) }
    }

    /// One more request.
    #[inline]
    pub(super) fn record(&self) {
        // Relaxed: nothing is passed on but the number.
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a retry, where there is one; returns the lap in which it is counted.
    pub(super) fn withdraw(&self, now: Tick) -> Option<u64> {
        loop {
            let (lap, account) = self.current(now);
            let after = self.terms.withdraw(account, self.requests())?;
            // Nothing is read through the account, but a turn reads it, and publishes with it.
            let swapped = self.account.compare_exchange_weak(account.0, after.0, Ordering::AcqRel, Ordering::Relaxed);
            if swapped.is_ok() {
                return Some(lap);
            }
        }
    }

    /// The retries that would be granted now, if nobody else asked.
    pub(super) fn left(&self, now: Tick) -> u64 {
        let (_, account) = self.current(now);
        self.terms.left(account, self.requests())
    }

    /// Gives back a retry that was counted in `lap`.
    pub(super) fn give_back(&self, lap: u64) {
        // Poisoned or not: nothing under the lock can panic half-way.
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.give_back(lap) {
            // Under the lock, so that no turn comes between the two.
            self.account.fetch_sub(PRICE, Ordering::AcqRel);
        }
    }

    fn requests(&self) -> u64 {
        // Relaxed: whoever has read an account that a turn published reads no fewer than that turn did.
        self.requests.load(Ordering::Relaxed)
    }

    /// The newest lap, which is that of `now` or a later one, and its account.
    fn current(&self, now: Tick) -> (u64, Account) {
        let today = self.terms.lap(now);
        loop {
            // Acquire: the account that is read next is of this lap or a later one.
            let lap = self.lap.load(Ordering::Acquire);
            let account = Account(self.account.load(Ordering::Acquire));
            if lap >= today && account.is_of(lap) {
                return (lap, account);
            }
            // Where somebody else is turning, this waits for the end of it.
            self.turn(today);
        }
    }

    #[cold]
    fn turn(&self, today: u64) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.newest() >= today {
            return;
        }
        let requests = self.requests();
        let mut account = self.account.load(Ordering::Relaxed);
        let next = loop {
            let (next, after) = ring.turned(&self.terms, Account(account), today, requests);
            match self.account.compare_exchange_weak(account, after.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break next,
                // Somebody withdrew.
                Err(now) => account = now,
            }
        };
        *ring = next;
        self.lap.store(today, Ordering::Release);
    }
}
