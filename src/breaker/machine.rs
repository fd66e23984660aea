//! The states of a circuit, and every step between them. Time is an argument, and nothing here waits, locks or tells.

use std::time::Duration;

use super::{
    rules::{Rules, Trip},
    settings::HalfOpen,
    snapshot::{Snapshot, State},
    window::{Call, Counts, Length, Window},
};
use crate::{
    outcome::Outcome,
    time::{Tick, nanos},
};

/// What a circuit is told to do; it does not change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) rules: Rules,
    pub(super) window: Length,
    pub(super) slow_call: Option<Duration>,
    pub(super) open_for: Duration,
    pub(super) half_open: HalfOpen,
}

/// How an admitted call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Finished(Outcome),
    Dropped,
}

/// A change of state, for whoever watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: State,
    pub(super) to: State,
    pub(super) trip: Option<Trip>,
}

/// Why a call was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) trip: Option<Trip>,
    pub(super) retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open { until: Tick },
    HalfOpen { until: Tick, probes: Probes },
}

/// The probes of one half-open period.
#[derive(Clone, Copy, Debug, Default)]
struct Probes {
    /// Let through and not given back.
    taken: u32,
    in_flight: u32,
    successes: u32,
    failures: u32,
    slow: u32,
    nanos: u128,
}

impl Probes {
    fn counts(&self) -> Counts {
        Counts {
            calls: u64::from(self.successes + self.failures),
            failures: u64::from(self.failures),
            slow: u64::from(self.slow),
            latency: self.nanos,
        }
    }
}

#[derive(Debug)]
pub(super) struct Machine {
    plan: Plan,
    phase: Phase,
    /// Counts the changes of state: an outcome is heard only in the epoch that admitted its call.
    epoch: u64,
    window: Window,
    /// Failures since the last success.
    run: u32,
    /// What opened the circuit last, and the counts of that moment.
    tripped: Option<(Trip, Counts)>,
    opened: u64,
}

impl Machine {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            phase: Phase::Closed,
            epoch: 0,
            window: Window::new(plan.window),
            run: 0,
            tripped: None,
            opened: 0,
        }
    }

    /// Half-open ⇒ open, where the period has ended without a verdict.
    ///
    /// The circuit opens at the moment the period ended, however late that is noticed, so that nobody has to watch it.
    pub(super) fn expire(&mut self, now: Tick) -> Option<Change> {
        match self.phase {
            Phase::HalfOpen { until, probes } if now >= until => {
                let trip = Trip::HalfOpenTimeout { after: self.half_open_timeout() };
                Some(self.open(until, trip, probes.counts()))
            }
            _ => None,
        }
    }

    pub(super) const fn half_open_timeout(&self) -> Duration {
        self.plan.half_open.timeout
    }

    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether a call at `now` would be let through.
    pub(super) fn would_admit(&self, now: Tick) -> bool {
        let HalfOpen { permits, max_concurrent, .. } = self.plan.half_open;
        match self.phase {
            Phase::Closed => true,
            Phase::Open { until } => now >= until,
            Phase::HalfOpen { probes, .. } => probes.taken < permits && probes.in_flight < max_concurrent,
        }
    }

    /// Asks for admission; the answer is the epoch that the call belongs to. Open ⇒ half-open happens here.
    pub(super) fn admit(&mut self, now: Tick) -> (Result<u64, Refusal>, Option<Change>) {
        if !self.would_admit(now) {
            return (Err(self.refusal(now)), None);
        }
        let change = match &mut self.phase {
            Phase::Closed => None,
            Phase::Open { .. } => {
                let probes = Probes { taken: 1, in_flight: 1, ..Probes::default() };
                Some(self.enter(Phase::HalfOpen { until: now.after(self.half_open_timeout()), probes }))
            }
            Phase::HalfOpen { probes, .. } => {
                probes.taken += 1;
                probes.in_flight += 1;
                None
            }
        };
        (Ok(self.epoch), change)
    }

    /// The refusal of a call at `now`.
    pub(super) fn refusal(&self, now: Tick) -> Refusal {
        let retry_after = if self.would_admit(now) { Some(Duration::ZERO) } else { self.retry_after(now) };
        Refusal { trip: self.trip(), retry_after }
    }

    /// Hears how a call of `epoch` ended, `took` after it was admitted.
    pub(super) fn settle(&mut self, epoch: u64, ending: Ending, took: Duration, now: Tick) -> Option<Change> {
        if epoch != self.epoch {
            return None;
        }
        let slow = self.plan.slow_call.is_some_and(|limit| took > limit);
        let failed = match ending {
            Ending::Finished(Outcome::Success) => Some(false),
            Ending::Finished(Outcome::Failure) => Some(true),
            // A timeout outside the breaker drops the call; it must not hide that the service has stopped answering.
            Ending::Dropped if slow => Some(true),
            Ending::Finished(Outcome::Ignored) | Ending::Dropped => None,
        };
        let call = failed.map(|failed| Call { failed, slow, nanos: nanos(took) });
        match self.phase {
            Phase::Closed => self.settle_closed(call?, now),
            Phase::HalfOpen { until, probes } => self.settle_probe(call, until, probes, now),
            // Nothing is admitted in an epoch that is open.
            Phase::Open { .. } => None,
        }
    }

    /// Closed ⇒ closed or open.
    fn settle_closed(&mut self, call: Call, now: Tick) -> Option<Change> {
        self.run = if call.failed { self.run.saturating_add(1) } else { 0 };
        self.window.record(now, call);
        let counts = self.window.counts(now);
        let trip = self.plan.rules.judge(self.run, &counts)?;
        Some(self.open(now, trip, counts))
    }

    /// Half-open ⇒ half-open, closed or open.
    fn settle_probe(&mut self, call: Option<Call>, until: Tick, mut probes: Probes, now: Tick) -> Option<Change> {
        let HalfOpen { permits, successes, .. } = self.plan.half_open;
        probes.in_flight -= 1;
        match call {
            None => probes.taken -= 1,
            Some(call) => {
                // A slow probe is a failed one.
                let failed = call.failed || call.slow;
                probes.failures += u32::from(failed);
                probes.successes += u32::from(!failed);
                probes.slow += u32::from(call.slow);
                probes.nanos += u128::from(call.nanos);
            }
        }
        self.phase = Phase::HalfOpen { until, probes };
        if probes.successes >= successes {
            return Some(self.close());
        }
        let lost = probes.failures > permits - successes;
        lost.then(|| self.open(now, Trip::Probes { failures: probes.failures, permits }, probes.counts()))
    }

    /// Any ⇒ closed, by hand.
    pub(super) fn reset(&mut self) -> Option<Change> {
        let change = self.close();
        (change.from != State::Closed).then_some(change)
    }

    fn close(&mut self) -> Change {
        self.window.clear();
        self.run = 0;
        self.tripped = None;
        self.enter(Phase::Closed)
    }

    fn open(&mut self, since: Tick, trip: Trip, counts: Counts) -> Change {
        self.tripped = Some((trip, counts));
        self.opened += 1;
        self.enter(Phase::Open { until: since.after(self.plan.open_for) })
    }

    fn enter(&mut self, phase: Phase) -> Change {
        let from = self.state();
        self.phase = phase;
        self.epoch += 1;
        Change { from, to: self.state(), trip: self.trip() }
    }

    fn trip(&self) -> Option<Trip> {
        self.tripped.map(|(trip, _)| trip)
    }

    const fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn retry_after(&self, now: Tick) -> Option<Duration> {
        match self.phase {
            Phase::Open { until } => Some(until.since(now)),
            Phase::Closed | Phase::HalfOpen { .. } => None,
        }
    }

    pub(super) fn snapshot(&self, now: Tick) -> Snapshot {
        let counts = match (self.phase, self.tripped) {
            (Phase::HalfOpen { probes, .. }, _) => probes.counts(),
            (Phase::Open { .. }, Some((_, counts))) => counts,
            _ => self.window.counts(now),
        };
        Snapshot {
            state: self.state(),
            calls: counts.calls,
            failures: counts.failures,
            slow: counts.slow,
            mean_latency: counts.mean_latency(),
            retry_after: self.retry_after(now),
            tripped: self.trip(),
            opened: self.opened,
        }
    }
}
