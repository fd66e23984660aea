//! The limits that threads read without the lock. They may change, so each is a word of its own.
//!
//! Whoever reads them while they change may find old and new ones together. So what they find broken is judged again under the
//! lock, and what they find sound is no news once the horizon has been taken back; see [`Shared::reconfigure`](super::shared::Shared).

use std::num::NonZero;

use super::{
    plan::{Plan, Rest},
    rules::{Rate, Rules},
    sync::{AtomicU64, Ordering},
};

/// A limit of zero is none. The limit of the mean is not among them: with that rule, calls are counted under the lock.
pub(super) struct Limits {
    /// [`UNMEASURED`] where nothing depends on how long a call takes.
    slow_call: AtomicU64,
    consecutive_failures: AtomicU64,
    failures: AtomicU64,
    /// `failure rate:32 | slow-call rate:32`, in billionths.
    rates: AtomicU64,
    minimum_calls: AtomicU64,
}

impl Limits {
    pub(super) fn new(plan: &Plan) -> Self {
        let [slow_call, consecutive_failures, failures, rates, minimum_calls] = words(plan).map(AtomicU64::new);
        Self { slow_call, consecutive_failures, failures, rates, minimum_calls }
    }

    /// Relaxed: who changes them says so by the horizon.
    pub(super) fn set(&self, plan: &Plan) {
        let Self { slow_call, consecutive_failures, failures, rates, minimum_calls } = self;
        for (limit, word) in
            [slow_call, consecutive_failures, failures, rates, minimum_calls].into_iter().zip(words(plan))
        {
            limit.store(word, Ordering::Relaxed);
        }
    }

    /// Whether anything depends on how long a call takes.
    #[inline]
    pub(super) fn measure_latency(&self) -> bool {
        self.slow_call() != UNMEASURED
    }

    /// The last moment where a call is not slow.
    #[inline]
    pub(super) fn slow_call(&self) -> u64 {
        self.slow_call.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn counts_runs(&self) -> bool {
        self.consecutive_failures.load(Ordering::Relaxed) > 0
    }

    /// The plan, of which `rest` is what is not kept here.
    pub(super) fn plan(&self, rest: &Rest) -> Plan {
        let &Rest { window, mean_latency, opening, half_open } = rest;
        let rules = Rules { mean_latency, ..self.rules() };
        Plan { rules, window, slow_call: self.slow_call(), opening, half_open }
    }

    #[expect(clippy::cast_possible_truncation, reason = "unpacked as it was packed")]
    pub(super) fn rules(&self) -> Rules {
        let word = |limit: &AtomicU64| limit.load(Ordering::Relaxed);
        let rates = word(&self.rates);
        Rules {
            consecutive_failures: NonZero::new(word(&self.consecutive_failures) as u32),
            failures: NonZero::new(word(&self.failures)),
            failure_rate: Rate::from_parts((rates >> 32) as u32),
            slow_call_rate: Rate::from_parts(rates as u32),
            mean_latency: None,
            minimum_calls: word(&self.minimum_calls),
        }
    }
}

const UNMEASURED: u64 = u64::MAX;

fn words(plan: &Plan) -> [u64; 5] {
    let Rules { consecutive_failures, failures, failure_rate, slow_call_rate, minimum_calls, .. } = plan.rules;
    let parts = |rate: Option<Rate>| rate.map_or(0, |rate| u64::from(rate.parts()));
    // No call ever lasts for as long as either.
    let slow_call = if plan.measures_latency() { plan.slow_call.min(UNMEASURED - 1) } else { UNMEASURED };
    [
        slow_call,
        consecutive_failures.map_or(0, |limit| limit.get().into()),
        failures.map_or(0, NonZero::get),
        parts(failure_rate) << 32 | parts(slow_call_rate),
        minimum_calls,
    ]
}
