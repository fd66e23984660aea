//! The probes of one half-open period.

use super::{
    half_open::HalfOpen,
    rules::Trip,
    window::{Call, Counts},
};

/// How many there were, and what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probes {
    /// Let through and not given back.
    taken: u32,
    in_flight: u32,
    successes: u32,
    failures: u32,
    slow: u32,
    nanos: u64,
}

/// How a period ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// Enough of them succeeded.
    Well,
    /// So many failed that enough cannot succeed any more.
    Lost(Trip),
}

impl Probes {
    pub(super) const fn has_place(&self, half_open: &HalfOpen) -> bool {
        self.taken < half_open.permits && self.in_flight < half_open.max_concurrent
    }

    /// Lets one more through.
    pub(super) const fn take(&mut self) {
        self.taken += 1;
        self.in_flight += 1;
    }

    /// Hears how one ended; `None` gives its place back.
    pub(super) fn settle(&mut self, call: Option<Call>, half_open: &HalfOpen) -> Option<Verdict> {
        self.in_flight -= 1;
        match call {
            None => self.taken -= 1,
            Some(call) => {
                // A slow probe is a failed one.
                let failed = call.failed || call.slow;
                self.failures += u32::from(failed);
                self.successes += u32::from(!failed);
                self.slow += u32::from(call.slow);
                self.nanos = self.nanos.wrapping_add(call.nanos);
            }
        }
        self.verdict(half_open)
    }

    pub(super) fn verdict(&self, half_open: &HalfOpen) -> Option<Verdict> {
        let &HalfOpen { permits, successes, .. } = half_open;
        if self.successes >= successes {
            return Some(Verdict::Well);
        }
        let lost = self.failures > permits - successes;
        lost.then_some(Verdict::Lost(Trip::Probes { failures: self.failures, permits }))
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            calls: u64::from(self.successes + self.failures),
            failures: u64::from(self.failures),
            slow: u64::from(self.slow),
            latency: self.nanos,
        }
    }
}
