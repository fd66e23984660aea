//! What retries may add to the load: a share of the recent requests, and a reserve.

mod account; // what is owed
mod builder; // what the user chose
mod shared; // what threads share of it
mod sync; // how

use std::fmt;

pub use self::builder::BudgetBuilder;
use self::{account::Terms, shared::Shared};
use crate::{handle::Handle, time::Clock, trace::count};

/// How many retries there may be: a share of the requests in a sliding window, and a reserve on top.
///
/// Retries mend a fault that hits few requests. Where it hits all of them, they multiply the load on a service that is down
/// already; under a budget of 0.2 they add a fifth to it. When the budget is empty a caller gets the last response or error
/// as it is, and [`Stopped::BudgetExhausted`](super::Stopped::BudgetExhausted) says why.
///
/// A budget belongs to what is being called. Clones share it, so give one to each policy whose requests go there, and to
/// nobody else:
///
/// ```
/// use portcullis::retry::{Budget, RetryPolicy};
///
/// let customer_api = Budget::builder().share(0.2).reserve(10).build()?;
/// let reads = RetryPolicy::http().budget(customer_api.clone()).build()?;
/// let writes = RetryPolicy::http().retry_non_idempotent().budget(customer_api).build()?;
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
///
/// Each process has its own, and each its own reserve: together they may add `share + reserve × processes ÷ (window × requests
/// per second of all)` of the requests. Where many processes make few requests each, take a small reserve and a long window.
///
/// What else repeats calls to it can take part by hand:
///
/// ```
/// use portcullis::retry::Budget;
///
/// let budget = Budget::builder().share(0.5).reserve(0).build()?;
/// budget.record_request();
/// assert!(budget.try_withdraw().is_none());
/// budget.record_request();
/// let retry = budget.try_withdraw().expect("one retry to two requests");
/// // The retry is made after all the preparation that could fail:
/// retry.spend();
/// assert!(budget.try_withdraw().is_none());
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
///
/// # What counts
///
/// A request counts once, however often it is tried, when its first attempt has ended; one that a circuit rejected does not. A
/// retry is paid for when its wait begins, after all else was decided: one that would wait longer than allowed, or pass the
/// deadline, costs nothing. A wait that is dropped, or ends without an attempt, gives back what it took, and so does a retry
/// that a circuit rejects, since that has opened meanwhile.
///
/// No request looks at a clock. So nobody knows when those were made that came since the last retry was asked for, and they
/// are taken to be as old as they can be: they are never counted for longer than the window, and after a calm as long as the
/// window only the reserve is left.
///
/// # What it costs
///
/// A request that succeeds adds one to a counter, and takes and gives back one reference, unless it is
/// [leaked](Self::leak): no lock, no clock. Asking for a
/// retry reads the clock and swaps one word. The first to ask in a new tenth of the window takes a lock and goes
/// once over ten buckets, and does no more than that after a month of silence.
///
/// However many threads ask, no more is granted than is allowed.
#[derive(Clone)]
pub struct Budget(Handle<Core>);

struct Core {
    shared: Shared,
    clock: Clock,
}

impl Budget {
    /// A budget of one retry to five requests in 10 seconds, and 10 retries in reserve, unless the builder is told otherwise.
    pub const fn builder() -> BudgetBuilder {
        BudgetBuilder::new()
    }

    fn new(terms: Terms, clock: Clock) -> Self {
        let now = clock.now();
        Self(Handle::new(Core { shared: Shared::new(terms, now), clock }))
    }

    /// The same budget for as long as the program runs: this handle and its clones count no references.
    ///
    /// A request then writes one word that threads share, and not three times. The memory is never given back, so this is for a
    /// number of budgets that does not grow.
    ///
    /// ```
    /// use portcullis::retry::{Budget, RetryPolicy};
    ///
    /// let budget = Budget::builder().build()?;
    /// let policy = RetryPolicy::http().budget(budget.clone().leak()).build()?;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    #[must_use]
    pub fn leak(self) -> Self {
        Self(self.0.leak())
    }

    /// Counts a request, not a retry, that was sent. A [`RetryPolicy`](super::RetryPolicy) does that for its own.
    #[inline]
    pub fn record_request(&self) {
        self.0.shared.record();
    }

    /// Takes a retry, if one is left.
    #[must_use = "a withdrawal that is dropped is given back"]
    pub fn try_withdraw(&self) -> Option<Withdrawal> {
        let core = &*self.0;
        let Some(lap) = core.shared.withdraw(core.clock.now()) else {
            count!("portcullis_retry_budget_refusals_total");
            return None;
        };
        Some(Withdrawal { budget: Some(self.clone()), lap })
    }

    /// Gets back a retry that was spent, and then not made after all.
    pub(super) fn take_back(&self, receipt: Receipt) {
        if receipt != Receipt::NONE {
            self.0.shared.give_back(receipt.0);
        }
    }

    /// The retries that are left at this moment. It is for gauges: what is left now may be gone when it is asked for.
    ///
    /// Like asking for a retry, it dates the requests so far. A gauge that is read once a second makes a window of 10 seconds
    /// know them through a calm, too.
    #[must_use]
    pub fn left(&self) -> u64 {
        let core = &*self.0;
        core.shared.left(core.clock.now())
    }
}

/// The lap in which a retry was counted that was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt(u64);

impl Receipt {
    /// No clock gets as far.
    pub(super) const NONE: Self = Self(u64::MAX);
}

impl Default for Receipt {
    fn default() -> Self {
        Self::NONE
    }
}

/// What is left of it.
impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("left", &self.left()).finish_non_exhaustive()
    }
}

/// A retry that was taken from a [`Budget`], and not made yet. Dropped, it is given back.
///
/// It is given back to the moment at which it was taken: later than the window, that is nothing.
#[derive(Debug)]
#[must_use = "a withdrawal that is dropped is given back"]
pub struct Withdrawal {
    /// `None` once it is spent.
    budget: Option<Budget>,
    lap: u64,
}

impl Withdrawal {
    /// With this it can be taken back after it was spent.
    pub(super) const fn receipt(&self) -> Receipt {
        Receipt(self.lap)
    }

    /// The retry is being made: what it took stays taken.
    pub fn spend(mut self) {
        self.budget = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.0.shared.give_back(self.lap);
        }
    }
}

#[cfg(test)]
mod tests;
