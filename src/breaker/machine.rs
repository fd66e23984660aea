//! The states of a circuit, and every step between them. Time is an argument, and nothing here waits, locks or tells.
//!
//! What a closed circuit counts is kept here only where it has to be: else it is kept in [stripes](super::stripes), and the
//! verdict comes from there.

use std::time::Duration;

use super::{
    cause::Cause,
    change::Change,
    log::Log,
    phase::{ByHand, Phase},
    plan::Plan,
    probes::{Probes, Verdict},
    refusal::Refusal,
    rules::Trip,
    snapshot::{Snapshot, State},
    window::{Call, Counts, Window},
    word::Control,
};
use crate::time::{Tick, nanos};

/// What a closed circuit counts under the lock.
#[derive(Debug)]
struct Ledger {
    window: Window,
    /// Failures since the last success.
    run: u32,
}

#[derive(Debug)]
pub(super) struct Machine {
    phase: Phase,
    /// Counts the changes of state: an outcome is heard only in the generation that admitted its call.
    generation: u64,
    /// `None` where the stripes count.
    ledger: Option<Box<Ledger>>,
    /// What opened the circuit last.
    tripped: Cause,
    opened: u64,
    /// Openings since the circuit was closed, less one.
    reopened: u32,
    pub(super) log: Log,
}

impl Machine {
    pub(super) fn new(plan: &Plan) -> Self {
        let ledger = plan.counts_in_order().then(|| Box::new(Ledger { window: Window::new(plan.window), run: 0 }));
        Self {
            phase: Phase::Closed,
            generation: 0,
            ledger,
            tripped: Cause::default(),
            opened: 0,
            reopened: 0,
            log: Log::default(),
        }
    }

    /// Half-open ⇒ open, where the period has ended without a verdict.
    ///
    /// The circuit opens at the moment the period ended, however late that is noticed, so that nobody has to watch it.
    pub(super) fn expire(&mut self, plan: &Plan, now: Tick) -> Option<Change> {
        match self.phase {
            Phase::HalfOpen { until, probes } if now >= until => {
                let trip = Trip::HalfOpenTimeout { after: plan.half_open.timeout };
                Some(self.open(plan, until, None, (trip, probes.counts())))
            }
            _ => None,
        }
    }

    /// What threads read without the lock.
    pub(super) fn control(&self, plan: &Plan) -> Control {
        Control::new(self.generation, self.phase.gate(plan))
    }

    pub(super) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Asks for admission; the answer is the generation that the call belongs to, if it is admitted. Open ⇒ half-open happens here.
    pub(super) fn admit(&mut self, plan: &Plan, now: Tick) -> (Option<u64>, Option<Change>) {
        if !self.phase.would_admit(plan, now) {
            return (None, None);
        }
        let change = match &mut self.phase {
            Phase::Open { .. } => {
                let mut probes = Probes::default();
                probes.take();
                Some(self.enter(Phase::HalfOpen { until: now.after(plan.half_open.timeout), probes }))
            }
            Phase::HalfOpen { probes, .. } => {
                probes.take();
                None
            }
            _ => None,
        };
        (Some(self.generation), change)
    }

    /// The refusal of a call at `now`.
    pub(super) fn refusal(&self, plan: &Plan, now: Tick) -> Refusal {
        let wait = match self.phase {
            Phase::Open { until, .. } => until.as_nanos().saturating_sub(now.as_nanos()),
            _ if self.phase.would_admit(plan, now) => 0,
            _ => Refusal::UNKNOWN,
        };
        Refusal { cause: self.tripped, wait }
    }

    /// Hears how a call of `generation` ended; `call` is `None` where it is not counted, and `hint` is how long its response
    /// asked to be left alone.
    pub(super) fn settle(
        &mut self,
        plan: &Plan,
        generation: u64,
        call: Option<Call>,
        hint: Option<Duration>,
        now: Tick,
    ) -> Option<Change> {
        if generation != self.generation {
            return None;
        }
        match self.phase {
            Phase::Closed | Phase::Observing { .. } => self.settle_counted(plan, call?, hint, now),
            Phase::HalfOpen { until, probes } => self.settle_probe(plan, call, until, probes, hint, now),
            // Nothing is admitted in a generation that is open.
            Phase::Open { .. } | Phase::ForcedOpen | Phase::Disabled => None,
        }
    }

    /// Closed ⇒ closed or open, where the ledger counts.
    fn settle_counted(&mut self, plan: &Plan, call: Call, hint: Option<Duration>, now: Tick) -> Option<Change> {
        let ledger = self.ledger.as_mut()?;
        ledger.run = if call.failed { ledger.run.saturating_add(1) } else { 0 };
        ledger.window.record(now, call);
        let counts = ledger.window.counts(now);
        let trip = plan.rules.judge(ledger.run, &counts)?;
        self.trip(plan, self.generation, now, hint, (trip, counts))
    }

    /// Closed ⇒ open: `counts` broke a rule in `generation`.
    pub(super) fn trip(
        &mut self,
        plan: &Plan,
        generation: u64,
        now: Tick,
        hint: Option<Duration>,
        (trip, counts): (Trip, Counts),
    ) -> Option<Change> {
        match self.phase {
            // Another thread may have come first.
            _ if generation != self.generation => None,
            Phase::Closed => Some(self.open(plan, now, hint, (trip, counts))),
            Phase::Observing { noted: false } => {
                self.phase = Phase::Observing { noted: true };
                self.tripped = trip.into();
                Some(Change { from: State::Observing, to: State::Observing, tripped: Some(trip) })
            }
            _ => None,
        }
    }

    /// Half-open ⇒ half-open, closed or open.
    fn settle_probe(
        &mut self,
        plan: &Plan,
        call: Option<Call>,
        until: Tick,
        mut probes: Probes,
        hint: Option<Duration>,
        now: Tick,
    ) -> Option<Change> {
        let verdict = probes.settle(call, &plan.half_open);
        self.phase = Phase::HalfOpen { until, probes };
        self.end_period(plan, verdict?, probes, hint, now)
    }

    fn end_period(
        &mut self,
        plan: &Plan,
        verdict: Verdict,
        probes: Probes,
        hint: Option<Duration>,
        now: Tick,
    ) -> Option<Change> {
        Some(match verdict {
            Verdict::Well => self.enter_anew(Phase::Closed),
            Verdict::Lost(trip) => self.open(plan, now, hint, (trip, probes.counts())),
        })
    }

    /// Goes on with `plan` after `before`. A half-open period may be over by that one, or have enough probes, or too few left.
    pub(super) fn replan(&mut self, before: &Plan, plan: &Plan, now: Tick) -> Option<Change> {
        let Phase::HalfOpen { until, probes } = &mut self.phase else { return None };
        let began = until.as_nanos().saturating_sub(nanos(before.half_open.timeout));
        *until = Tick::from_nanos(began).after(plan.half_open.timeout);
        let verdict = probes.verdict(&plan.half_open);
        let probes = *probes;
        self.expire(plan, now).or_else(|| self.end_period(plan, verdict?, probes, None, now))
    }

    /// Any ⇒ the state that is set by hand.
    pub(super) fn set(&mut self, state: ByHand) -> Option<Change> {
        let change = self.enter_anew(state.into());
        (change.from != change.to).then_some(change)
    }

    /// Enters `phase` with all that was counted forgotten.
    fn enter_anew(&mut self, phase: Phase) -> Change {
        if let Some(ledger) = &mut self.ledger {
            ledger.window.clear();
            ledger.run = 0;
        }
        self.tripped = Cause::default();
        self.reopened = 0;
        self.enter(phase)
    }

    fn open(&mut self, plan: &Plan, since: Tick, hint: Option<Duration>, (trip, counts): (Trip, Counts)) -> Change {
        if let Phase::HalfOpen { .. } = self.phase {
            self.reopened = self.reopened.saturating_add(1);
        }
        self.tripped = trip.into();
        self.opened += 1;
        self.enter(Phase::Open { until: since.after(plan.opening.span(self.reopened, hint)), counts })
    }

    fn enter(&mut self, phase: Phase) -> Change {
        let from = self.phase.state();
        self.phase = phase;
        self.generation += 1;
        Change { from, to: self.phase.state(), tripped: self.tripped.trip() }
    }

    pub(super) const fn tripped(&self) -> Cause {
        self.tripped
    }

    /// `window` counts the calls of the generation that it is given, where the ledger does not.
    pub(super) fn snapshot(&self, plan: &Plan, now: Tick, window: impl FnOnce(u64) -> Counts) -> Snapshot {
        let counts = match (self.phase, &self.ledger) {
            (Phase::HalfOpen { probes, .. }, _) => probes.counts(),
            (Phase::Open { counts, .. }, _) => counts,
            (_, Some(ledger)) => ledger.window.counts(now),
            _ => window(self.generation),
        };
        Snapshot {
            state: self.phase.state(),
            calls: counts.calls,
            failures: counts.failures,
            slow: counts.slow,
            mean_latency: plan.rules.mean_latency.and_then(|_| counts.mean_latency()),
            retry_after: self.phase.retry_after(now),
            tripped: self.tripped.trip(),
            opened: self.opened,
        }
    }
}
