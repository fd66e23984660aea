//! The seam: all that threads share of a circuit. Time and the stripe are arguments; no user code runs here.
//!
//! A closed call loads [`Control`] and counts in its stripe; a rejection loads what was published and writes nothing.
//! Every change of state, and all that is half-open, happens under the lock, and is published before the lock is free.
//!
//! Why each race is harmless:
//!
//! * A call that read `Counting` just before the circuit opened was admitted before: its generation is over, and its outcome
//!   is not heard.
//! * An outcome that was heard just before its generation ended is counted in a bucket of that generation, which no window
//!   of a later one holds, or in a run of failures that the next generation replaces.
//! * Two threads that find a broken rule both ask the lock: the second finds that the generation is over.
//! * A success that does not judge has read a horizon; see [`Shared::count`].

use std::{sync::PoisonError, time::Duration};

use super::{
    cause::Cause,
    change::Change,
    limits::Limits,
    machine::Machine,
    plan::{Plan, Rest},
    refusal::Refusal,
    snapshot::{Snapshot, State},
    stripes::Stripes,
    sync::{AtomicU64, Mutex, MutexGuard, Ordering, fence},
    window::{Call, Counts, Length},
    word::{Control, Gate, Horizon, Run},
};
use crate::{config::ConfigError, time::Tick};

/// At most two changes come of one step: a half-open period that was found to be over, and what the step itself did.
pub(super) type Changes = [Option<Change>; 2];

/// In this order: what calls read is together, and far from the lock.
#[repr(C)]
pub(super) struct Shared {
    words: Words,
    limits: Limits,
    /// `None` where the machine counts, under the lock.
    stripes: Option<Stripes>,
    locked: Mutex<Locked>,
}

struct Locked {
    rest: Rest,
    machine: Machine,
}

/// An outcome that has to be judged.
pub(super) struct Counted {
    /// In a row, this outcome included.
    failures: u32,
    bucket: u64,
    seen: Horizon,
}

/// What calls read; it is written when the state changes, and by bad outcomes.
struct Words {
    control: AtomicU64,
    horizon: AtomicU64,
    run: AtomicU64,
    until: AtomicU64,
    cause: [AtomicU64; 3],
}

impl Shared {
    /// `stripes` is a power of two.
    pub(super) fn new(plan: Plan, stripes: usize) -> Self {
        let machine = Machine::new(&plan);
        let word = AtomicU64::new;
        let words = Words {
            control: word(machine.control(&plan).0),
            horizon: word(0),
            run: word(0),
            until: word(u64::MAX),
            cause: [word(0), word(0), word(0)],
        };
        let stripes = match plan.window {
            Length::Time(span) if !plan.counts_in_order() => Some(Stripes::new(Length::bucket(span), stripes)),
            Length::Time(_) | Length::Calls(_) => None,
        };
        let (limits, rest) = (Limits::new(&plan), Rest::from(&plan));
        Self { words, limits, stripes, locked: Mutex::new(Locked { rest, machine }) }
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Goes on with another plan, and with all that was counted; `Err` where that cannot be.
    ///
    /// The next outcome judges, whatever it is: the horizon is taken back once the limits are written, as by a bad outcome.
    /// Whoever judged by old limits, or by some of both, fails to move it.
    pub(super) fn reconfigure(&self, plan: Plan, now: Tick) -> Result<Changes, ConfigError> {
        let mut locked = self.lock();
        let Locked { rest, machine } = &mut *locked;
        let current = self.limits.plan(rest);
        plan.check_change(&current)?;
        let expired = machine.expire(&current, now).inspect(|change| machine.log.write(*change));
        *rest = Rest::from(&plan);
        self.limits.set(&plan);
        self.after_bad();
        let change = machine.replan(&current, &plan, now).inspect(|change| machine.log.write(*change));
        self.publish(machine, &plan);
        Ok([expired, change])
    }

    pub(super) fn control(&self) -> Control {
        // Acquire: whoever sees a state sees what was published before it.
        Control(self.words.control.load(Ordering::Acquire))
    }

    /// The refusal of a call that came when it was `control`; `None` where the lock has to be asked.
    #[inline]
    pub(super) fn refusal(&self, control: Control, now: Tick, lag: u64) -> Option<Refusal> {
        let until = self.barred_until(control, now)?;
        let cause = Cause(self.words.cause.each_ref().map(|word| word.load(Ordering::Acquire)));
        let wait = if control.gate() == Gate::Open {
            until.as_nanos().saturating_sub(now.as_nanos()).saturating_add(lag)
        } else {
            Refusal::UNKNOWN
        };
        self.is_still(control).then_some(Refusal { cause, wait })
    }

    /// Whether there would be such a refusal.
    pub(super) fn would_refuse(&self, control: Control, now: Tick) -> bool {
        self.barred_until(control, now).is_some() && self.is_still(control)
    }

    #[inline]
    fn barred_until(&self, control: Control, now: Tick) -> Option<Tick> {
        let until = Tick::from_nanos(self.words.until.load(Ordering::Acquire));
        (now < until && control.gate().is_barred()).then_some(until)
    }

    /// Whether what was read since belongs to `control`.
    ///
    /// Those words are written with Release and were read with Acquire: one of a later generation makes that one visible.
    fn is_still(&self, control: Control) -> bool {
        self.words.control.load(Ordering::Relaxed) == control.0
    }

    /// Counts the outcome of a call of `generation`, which has not ended; where it has to be judged, [`judge`](Self::judge)
    /// is told what this returns.
    ///
    /// A success is judged only from the horizon on, and the horizon lies where a success can first break a rule: never
    /// while the window holds nothing bad; now, where the minimum of calls may be completed; else in the next bucket, when
    /// old successes leave. That holds until the next bad outcome, so a bad one first counts itself, then takes the
    /// horizon back to now, and then judges. A success first counts itself and then reads the horizon. Of the two, one sees
    /// the other.
    ///
    /// Whoever has judged moves the horizon, unless there was a bad outcome since they looked at it: that one will.
    #[inline]
    pub(super) fn count(
        &self,
        stripes: &Stripes,
        stripe: usize,
        generation: u64,
        call: Call,
        now: Tick,
    ) -> Option<Counted> {
        let bucket = stripes.bucket(now, generation);
        if call.failed || call.slow {
            // Apart, so that a good call saves no registers for it.
            return Some(self.count_bad(stripes, stripe, generation, call, bucket));
        }
        stripes.record(stripe, bucket);
        self.run(generation, false);
        let seen = Horizon(self.words.horizon.load(Ordering::SeqCst));
        seen.is_reached(bucket).then_some(Counted { failures: 0, bucket, seen })
    }

    #[cold]
    fn count_bad(&self, stripes: &Stripes, stripe: usize, generation: u64, call: Call, bucket: u64) -> Counted {
        stripes.record(stripe, bucket);
        stripes.mark(stripe, bucket, call);
        let failures = self.run(generation, call.failed);
        Counted { failures, bucket, seen: self.after_bad() }
    }

    /// Failures in a row, this outcome included. A success that follows a success writes nothing.
    #[inline]
    fn run(&self, generation: u64, failed: bool) -> u32 {
        if !self.limits.counts_runs() {
            return 0;
        }
        let mut seen = self.words.run.load(Ordering::Relaxed);
        while let Some(next) = Run(seen).after(generation, failed) {
            // Relaxed: the run is in this word, and in no other.
            match self.words.run.compare_exchange_weak(seen, next.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return next.failures(),
                Err(now) => seen = now,
            }
        }
        if failed { Run(seen).failures() } else { 0 }
    }

    fn after_bad(&self) -> Horizon {
        let mut seen = self.words.horizon.load(Ordering::Relaxed);
        loop {
            let next = Horizon(seen).after_bad();
            // SeqCst: as in `stripes::count`.
            match self.words.horizon.compare_exchange_weak(seen, next.0, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    fence();
                    return next;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Opens the circuit where the outcome that was counted breaks a rule, and moves the horizon where it breaks none.
    #[cold]
    pub(super) fn judge(
        &self,
        stripes: &Stripes,
        counted: Counted,
        generation: u64,
        hint: Option<Duration>,
        now: Tick,
    ) -> Option<Change> {
        let Counted { failures, bucket, seen } = counted;
        let (counts, bucket) = stripes.counts(bucket);
        let rules = self.limits.rules();
        if rules.judge(failures, &counts).is_none() {
            let next = seen.moved_to(rules.horizon(&counts, bucket));
            // SeqCst: whoever reads this horizon sees all that was counted before it was set.
            let _ = self.words.horizon.compare_exchange(seen.0, next.0, Ordering::SeqCst, Ordering::Relaxed);
            return None;
        }
        let mut locked = self.lock();
        let Locked { rest, machine } = &mut *locked;
        let plan = &self.limits.plan(rest);
        // Again, by the limits of now.
        let trip = plan.rules.judge(failures, &counts)?;
        let change = machine.trip(plan, generation, now, hint, (trip, counts));
        self.publish(machine, plan);
        change.inspect(|change| machine.log.write(*change))
    }

    /// The stripes, where those count and not the machine.
    pub(super) const fn stripes(&self) -> Option<&Stripes> {
        self.stripes.as_ref()
    }

    /// Takes a step under the lock.
    pub(super) fn step<T>(
        &self,
        now: Tick,
        step: impl FnOnce(&mut Machine, &Plan) -> (T, Option<Change>),
    ) -> (T, Changes) {
        let mut locked = self.lock();
        let Locked { rest, machine } = &mut *locked;
        let plan = &self.limits.plan(rest);
        let expired = machine.expire(plan, now).inspect(|change| machine.log.write(*change));
        let (answer, change) = step(machine, plan);
        self.publish(machine, plan);
        (answer, [expired, change.inspect(|change| machine.log.write(*change))])
    }

    pub(super) fn snapshot(&self, now: Tick) -> (Snapshot, Changes) {
        let window = |generation| match &self.stripes {
            Some(stripes) => stripes.counts(stripes.bucket(now, generation)).0,
            None => Counts::default(),
        };
        self.step(now, |machine, plan| (machine.snapshot(plan, now, window), None))
    }

    pub(super) fn state(&self) -> State {
        self.lock().machine.phase().state()
    }

    /// Lets the others know what the machine is; the lock is held.
    fn publish(&self, machine: &Machine, plan: &Plan) {
        let Words { control, until, cause, .. } = &self.words;
        let next = machine.control(plan);
        let before = Control(control.load(Ordering::Relaxed));
        let ends = machine.phase().until().as_nanos();
        if next.generation() != before.generation() {
            if !matches!(next.gate(), Gate::Counting | Gate::Uncounted) {
                // Whoever reads a word that follows finds that this generation has begun.
                control.store(Control::new(next.generation(), Gate::Ask).0, Ordering::Release);
                until.store(ends, Ordering::Release);
                for (word, figure) in cause.iter().zip(machine.tripped().0) {
                    word.store(figure, Ordering::Release);
                }
            }
        } else if next.gate() == Gate::Full && until.load(Ordering::Relaxed) != ends {
            // Other settings have moved the end of the half-open period. Whoever reads the one end or the other reads what was
            // so just before, or is so now.
            until.store(ends, Ordering::Release);
        }
        if next == before {
            return;
        }
        // Release: and whoever finds the state finds the words.
        control.store(next.0, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        // Nothing under the lock can panic half-way through a step: no user code runs there.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
