//! What the handles of one circuit share: it reads the clock, asks the [seam](super::shared), and tells of changes.

use std::{future::Future, time::Duration};

use super::{
    bell::Bell,
    change::Change,
    error::Rejected,
    log::Reader,
    machine::Machine,
    name::Name,
    phase::ByHand,
    plan::{Ending, Plan},
    refusal::Refusal,
    shared::{Changes, Counted, Shared},
    snapshot::{Snapshot, State},
    stripes::Stripes,
    threads,
    word::{Control, Gate},
};
use crate::{
    config::ConfigError,
    time::{Clock, Tick, WallClock, nanos},
    trace::event,
};

/// What the handles share. It begins with what calls read, on a cache line that the count of handles is not on.
#[repr(C, align(64))]
pub(super) struct Core {
    shared: Shared,
    clock: Clock,
    name: Name,
    /// `None` where no response's wish is heard.
    wall_clock: Option<WallClock>,
    changed: Bell,
}

/// Admission to one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    generation: u64,
    /// Blank where nothing depends on how long the call takes.
    started: Tick,
}

/// No admission: what the circuit was, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Barred {
    control: Control,
    now: Tick,
}

impl Core {
    pub(super) fn new(name: Name, plan: Plan, clock: Clock, wall_clock: WallClock, stripes: usize) -> Self {
        let wall_clock = (plan.opening.hint_max > 0).then_some(wall_clock);
        Self { shared: Shared::new(plan, stripes), clock, name, wall_clock, changed: Bell::default() }
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// Admission to a call, or else what its [rejection](Self::reject) is made of.
    ///
    /// That is composed where it goes to: one that is passed on is read before its parts have left the store buffer, and
    /// waiting for them costs more than the rest.
    #[inline(always)]
    pub(super) fn admit(&self) -> Result<Ticket, Barred> {
        self.admit_free().or_else(|control| self.admit_barred(control))
    }

    /// The same for a layer, whose stages are many: what seldom happens stands apart from them.
    #[inline]
    pub(super) fn admit_apart(&self) -> Result<Ticket, Barred> {
        self.admit_free().or_else(|control| self.admit_barred_apart(control))
    }

    #[inline(always)]
    fn admit_free(&self) -> Result<Ticket, Control> {
        let control = self.shared.control();
        if !control.gate().is_free() {
            return Err(control);
        }
        let started = if self.shared.limits().measure_latency() { self.clock.now() } else { Tick::default() };
        Ok(Ticket { generation: control.generation(), started })
    }

    #[inline(always)]
    fn admit_barred(&self, control: Control) -> Result<Ticket, Barred> {
        let now = self.clock.now();
        if self.shared.would_refuse(control, now) { Err(Barred { control, now }) } else { self.admit_under_lock(now) }
    }

    #[cold]
    #[inline(never)]
    fn admit_barred_apart(&self, control: Control) -> Result<Ticket, Barred> {
        self.admit_barred(control)
    }

    #[cold]
    #[inline(never)]
    fn admit_under_lock(&self, now: Tick) -> Result<Ticket, Barred> {
        match self.step(now, |machine, plan| machine.admit(plan, now)) {
            Some(generation) => Ok(Ticket { generation, started: now }),
            None => Err(Barred { control: self.shared.control(), now }),
        }
    }

    /// Whether a call would be rejected; takes nothing.
    #[inline]
    pub(super) fn would_reject(&self) -> bool {
        let control = self.shared.control();
        // While closed, which is most of the time, it is not the clock's affair.
        !control.gate().is_free() && self.would_reject_now(control)
    }

    #[cold]
    fn would_reject_now(&self, control: Control) -> bool {
        let now = self.clock.now();
        if self.shared.would_refuse(control, now) {
            return true;
        }
        self.step(now, |machine, plan| (!machine.phase().would_admit(plan, now), None))
    }

    /// What a rejection is made of where nobody asked for admission.
    #[inline]
    pub(super) fn barred(&self) -> Barred {
        Barred { control: self.shared.control(), now: self.clock.now() }
    }

    /// The rejection of a call that may not be made, as things stand.
    #[inline]
    pub(super) fn reject<T>(&self, Barred { control, now }: Barred, told: impl FnOnce(Rejected) -> T) -> T {
        match self.shared.refusal(control, now, self.clock.lag()) {
            Some(refusal) => told(Rejected::new(self.name, refusal)),
            None => told(self.rejection_under_lock(now)),
        }
    }

    #[cold]
    #[inline(never)]
    fn rejection_under_lock(&self, now: Tick) -> Rejected {
        let refusal = self.step(now, |machine, plan| (machine.refusal(plan, now), None));
        Rejected::new(self.name, Refusal { wait: self.waiting(refusal.wait), ..refusal })
    }

    #[inline]
    pub(super) fn settle(&self, ticket: Ticket, ending: Ending) {
        self.settle_hinted(ticket, ending, None);
    }

    /// `hint` is how long a failed response asked to be left alone.
    #[inline]
    pub(super) fn settle_hinted(&self, ticket: Ticket, ending: Ending, hint: Option<Duration>) {
        let Ticket { generation, started } = ticket;
        let control = self.shared.control();
        if control.generation() != generation {
            return;
        }
        let (Gate::Counting | Gate::Noted, Some(stripes)) = (control.gate(), self.shared.stripes()) else {
            // While it is disabled, nothing is to be said under the lock either.
            if control.gate() != Gate::Uncounted {
                self.settle_under_lock(ticket, ending, hint);
            }
            return;
        };
        let now = self.clock.now();
        let Some(call) = ending.call(now.nanos_since(started), self.shared.limits().slow_call()) else { return };
        if let Some(counted) = self.shared.count(stripes, threads::number(), generation, call, now)
            && control.gate() == Gate::Counting
        {
            self.judge(stripes, counted, generation, hint, now);
        }
    }

    #[cold]
    fn judge(&self, stripes: &Stripes, counted: Counted, generation: u64, hint: Option<Duration>, now: Tick) {
        self.announce([self.shared.judge(stripes, counted, generation, hint, now), None]);
    }

    #[cold]
    fn settle_under_lock(&self, Ticket { generation, started }: Ticket, ending: Ending, hint: Option<Duration>) {
        let now = self.clock.now();
        let has_place_again = self.step(now, |machine, plan| {
            let call = ending.call(now.nanos_since(started), plan.slow_call);
            let was_full = machine.phase().is_full(plan);
            let change = machine.settle(plan, generation, call, hint, now);
            (was_full && change.is_none() && !machine.phase().is_full(plan), change)
        });
        // No change of state, and yet somebody may wait for it.
        if has_place_again {
            self.changed.ring();
        }
    }

    /// What dates in `Retry-After` are compared with, where that is heard.
    #[inline]
    pub(super) fn hint_clock(&self) -> Option<&WallClock> {
        self.wall_clock.as_ref()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let (mut snapshot, changes) = self.shared.snapshot(self.clock.now());
        self.announce(changes);
        snapshot.retry_after = snapshot.retry_after.map(|span| Duration::from_nanos(self.waiting(nanos(span))));
        snapshot
    }

    pub(super) fn set(&self, state: ByHand) {
        self.step(self.clock.now(), |machine, _| ((), machine.set(state)));
    }

    pub(super) fn reconfigure(&self, plan: Plan) -> Result<(), ConfigError> {
        self.announce(self.shared.reconfigure(plan, self.clock.now())?);
        // A probe may have a place by now, and no state has changed.
        self.changed.ring();
        Ok(())
    }

    pub(super) fn changed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.changed.listen()
    }

    pub(super) fn subscribe(&self) -> Reader {
        self.step(self.clock.now(), |machine, _| (machine.log.subscribe(), None))
    }

    pub(super) fn unsubscribe(&self) {
        self.step(self.clock.now(), |machine, _| (machine.log.unsubscribe(), None));
    }

    pub(super) fn read(&self, reader: &mut Reader) -> Option<Change> {
        self.step(self.clock.now(), |machine, _| (machine.log.read(reader), None))
    }

    /// The state as it was left: nothing is noticed, and nobody told.
    pub(super) fn state(&self) -> State {
        self.shared.state()
    }

    /// The state, and how long it lasts at most, where that is limited.
    pub(super) fn standing(&self) -> (State, Option<Duration>) {
        let now = self.clock.now();
        let (state, until) = self.step(now, |machine, _| ((machine.phase().state(), machine.phase().until()), None));
        let left = matches!(state, State::Open | State::HalfOpen).then(|| self.waiting(until.nanos_since(now)));
        (state, left.map(Duration::from_nanos))
    }

    /// The longest that a half-open period lasts.
    pub(super) fn half_open_timeout(&self) -> Duration {
        self.step(self.clock.now(), |_, plan| (plan.half_open.timeout, None))
    }

    /// Takes a step under the lock, and tells of the changes once it is free: whoever listens may call back.
    ///
    /// Never a part of its callers, so that a rejection saves no registers for it.
    #[cold]
    #[inline(never)]
    fn step<T>(&self, now: Tick, step: impl FnOnce(&mut Machine, &Plan) -> (T, Option<Change>)) -> T {
        let (answer, changes) = self.shared.step(now, step);
        self.announce(changes);
        answer
    }

    /// The wait, in nanoseconds, after which the clock has reached the moment, however far it lags.
    fn waiting(&self, span: u64) -> u64 {
        if span == 0 { 0 } else { span.saturating_add(self.clock.lag()) }
    }

    fn announce(&self, changes: Changes) {
        for change in changes.into_iter().flatten() {
            self.announce_one(change);
        }
    }

    #[cold]
    fn announce_one(&self, change: Change) {
        let Change { from, to, tripped } = change;
        let (circuit, before) = (self.name.as_str(), from.as_str());
        match tripped.filter(|_| matches!(to, State::Open | State::Observing)) {
            Some(trip) if to == State::Observing => {
                let rule = trip.rule();
                event!(
                    WARN,
                    "circuit would have opened",
                    circuit = circuit,
                    rule = rule,
                    reason = format_args!("{trip}")
                );
            }
            Some(trip) => {
                let rule = trip.rule();
                event!(
                    WARN,
                    "circuit opened",
                    circuit = circuit,
                    from = before,
                    rule = rule,
                    reason = format_args!("{trip}")
                );
            }
            None => event!(INFO, "circuit changed", circuit = circuit, from = before, to = to.as_str()),
        }
        self.changed.ring();
    }
}

/// Whoever still waits for a change waits for nothing.
impl Drop for Core {
    fn drop(&mut self) {
        self.changed.ring();
    }
}

#[cfg(test)]
mod tests;
