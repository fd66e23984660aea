//! The circuit as its users hold it: it reads the clock, asks what is [shared](super::shared), and tells of changes.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{Ordering, fence},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    error::{BreakerError, Rejected},
    machine::{ByHand, Change, Ending, Machine, Plan, Refusal},
    name::Name,
    permit::{OnPanic, Permit},
    settings::CircuitBuilder,
    shared::{Changes, Counted, Shared},
    snapshot::{Snapshot, State},
    stripes::Stripes,
    threads,
    word::{Control, Gate},
};
use crate::{
    outcome::{Classify, Outcome, Results},
    time::{Clock, Tick, WallClock, nanos},
    trace::event,
};

/// A circuit: the memory of how calls to one service went, and the verdict on whether to make another.
///
/// Clones are handles to the same circuit, so it is shared by saying so. It is used through a
/// [`CircuitBreakerLayer`](super::CircuitBreakerLayer), or without tower through [`call`](Self::call),
/// [`call_async`](Self::call_async) and [`acquire`](Self::acquire).
///
/// A handle counts references, which is most of what a call through the layer costs; [`leak`](Self::leak) is the way without.
///
/// ```
/// use std::time::Duration;
/// use portcullis::breaker::{BreakerError, Circuit, State};
///
/// let circuit = Circuit::builder("customer-api").consecutive_failures(2).build()?;
/// for _ in 0..2 {
///     let refused = circuit.call(|| Err::<(), _>("connection refused"));
///     assert!(matches!(refused, Err(BreakerError::Inner("connection refused"))));
/// }
///
/// let Err(BreakerError::Rejected(rejected)) = circuit.call(|| Ok::<_, &str>("never asked")) else { panic!() };
/// assert_eq!(rejected.circuit(), "customer-api");
/// assert!(rejected.retry_after().unwrap() < Duration::from_secs(16));
/// assert_eq!(circuit.snapshot().state, State::Open);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Circuit(Handle);

#[derive(Clone)]
enum Handle {
    Counted(Arc<Core>),
    Leaked(&'static Core),
}

/// What the handles share. It begins with what calls read, on a cache line that the count of handles is not on.
#[repr(C, align(64))]
pub(super) struct Core {
    shared: Shared,
    name: Name,
    clock: Clock,
    /// `None` where no response's wish is heard.
    wall_clock: Option<WallClock>,
    /// Made for the first who listens.
    changed: OnceLock<Arc<Notify>>,
}

/// Admission to one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    generation: u64,
    /// Blank where nothing depends on how long the call takes.
    started: Tick,
}

impl Circuit {
    /// Begins a circuit of this name, which rejections, events and metrics carry.
    pub fn builder(name: impl Into<Name>) -> CircuitBuilder {
        CircuitBuilder::new(name.into())
    }

    pub(super) fn new(name: Name, plan: Plan, clock: Clock, wall_clock: WallClock, stripes: usize) -> Self {
        let wall_clock = (plan.opening.hint_max > 0).then_some(wall_clock);
        let core = Core { shared: Shared::new(plan, stripes), name, clock, wall_clock, changed: OnceLock::new() };
        Self(Handle::Counted(Arc::new(core)))
    }

    /// The same circuit for as long as the program runs: this handle and its clones count no references.
    ///
    /// A call through the layer is then about twice as fast, and threads do not contend for the count. The memory is never
    /// given back, so this is for a number of circuits that does not grow.
    ///
    /// ```
    /// use portcullis::breaker::Circuit;
    ///
    /// let circuit = Circuit::builder("customer-api").consecutive_failures(5).build()?;
    /// let leaked = circuit.clone().leak();
    /// leaked.acquire().unwrap().failure();
    /// assert_eq!(circuit.snapshot().failures, 1);
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    #[must_use]
    pub fn leak(self) -> Self {
        match self.0 {
            Handle::Counted(core) => {
                let leaked: &'static Arc<Core> = Box::leak(Box::new(core));
                Self(Handle::Leaked(leaked))
            }
            leaked @ Handle::Leaked(_) => Self(leaked),
        }
    }

    #[inline]
    pub(super) fn core(&self) -> &Core {
        match &self.0 {
            Handle::Counted(core) => core,
            Handle::Leaked(core) => core,
        }
    }

    /// The circuit's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.core().name.as_str()
    }

    /// Asks to make one call now; the permit has to hear how it ended.
    ///
    /// # Errors
    ///
    /// [`Rejected`] while the circuit is open, and while it is half-open with all its permits taken.
    #[inline]
    pub fn acquire(&self) -> Result<Permit, Rejected> {
        let ticket = self.core().admit()?;
        Ok(Permit::new(self.clone(), ticket))
    }

    /// Makes a call and counts it: `Ok` as a success, `Err` and a panic as a failure.
    ///
    /// # Errors
    ///
    /// [`BreakerError::Rejected`] where the circuit did not let the call through, else the call's own error.
    #[inline]
    pub fn call<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, BreakerError<E>> {
        let core = self.core();
        let ticket = core.admit()?;
        let guard = OnPanic(|| core.settle(ticket, Ending::Finished(Outcome::Failure)));
        let result = call();
        guard.disarm();
        core.settle(ticket, Ending::Finished(Results.classify(result.as_ref())));
        result.map_err(BreakerError::Inner)
    }

    /// Awaits a call and counts it as [`call`](Self::call) does; dropping the future settles it as cancelled.
    ///
    /// # Errors
    ///
    /// [`BreakerError::Rejected`] where the circuit did not let the call through, else the call's own error.
    pub async fn call_async<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, BreakerError<E>> {
        let ticket = self.core().admit()?;
        super::future::Calling::new(call, self.clone(), ticket, Results).await.map_err(BreakerError::Inner)
    }

    /// The circuit's state, counts and rates now. It takes no permit.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let core = self.core();
        let (mut snapshot, changes) = core.shared.snapshot(core.clock.now());
        core.announce(changes);
        snapshot.retry_after = snapshot.retry_after.map(|span| Duration::from_nanos(core.waiting(nanos(span))));
        snapshot
    }

    /// Closes the circuit with an empty window, whatever its state; calls that are under way are not counted in it.
    pub fn reset(&self) {
        self.set(ByHand::Closed);
    }

    /// Rejects every call until another state is set by hand.
    ///
    /// ```
    /// use portcullis::breaker::{Circuit, State};
    ///
    /// let circuit = Circuit::builder("customer-api").consecutive_failures(5).build()?;
    /// circuit.force_open();
    /// let rejected = circuit.acquire().unwrap_err();
    /// assert_eq!(rejected.retry_after(), None);
    /// assert_eq!(circuit.snapshot().state, State::ForcedOpen);
    ///
    /// circuit.reset();
    /// assert!(circuit.acquire().is_ok());
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn force_open(&self) {
        self.set(ByHand::ForcedOpen);
    }

    /// Lets every call through and counts none, until another state is set by hand.
    ///
    /// ```
    /// use portcullis::breaker::Circuit;
    ///
    /// let circuit = Circuit::builder("customer-api").consecutive_failures(1).build()?;
    /// circuit.disable();
    /// circuit.acquire().unwrap().failure();
    /// circuit.acquire().unwrap().failure();
    /// assert_eq!(circuit.snapshot().calls, 0);
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn disable(&self) {
        self.set(ByHand::Disabled);
    }

    /// Lets every call through and counts it, until another state is set by hand; the first broken rule is told, and opens
    /// nothing.
    ///
    /// So settings can be tried out on live traffic. What would have opened the circuit is an event and
    /// [`Snapshot::tripped`]; observing anew forgets it.
    ///
    /// ```
    /// use portcullis::breaker::{Circuit, State, Trip};
    ///
    /// let circuit = Circuit::builder("customer-api").consecutive_failures(1).build()?;
    /// circuit.observe();
    /// circuit.acquire().unwrap().failure();
    /// assert_eq!(circuit.snapshot().state, State::Observing);
    /// assert_eq!(circuit.snapshot().tripped, Some(Trip::ConsecutiveFailures { failures: 1 }));
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn observe(&self) {
        self.set(ByHand::Observing);
    }

    fn set(&self, state: ByHand) {
        let core = self.core();
        core.step(core.clock.now(), |machine, _| ((), machine.set(state)));
    }

    /// Waits for the next change of state.
    ///
    /// It counts from the moment it is called, so a change between this call and its first poll is not missed. It may
    /// wake early: read [`snapshot`](Self::snapshot) and wait again. A half-open period that ends by its timeout is heard of
    /// when the circuit is next touched, since nobody watches it.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let changed = Arc::clone(self.core().changed.get_or_init(Arc::default)).notified_owned();
        // Whoever listens reads the state after this, and who changed it looks for listeners after the other fence: of the
        // two, one sees the other.
        fence(Ordering::SeqCst);
        changed
    }

    /// The longest that a half-open period lasts.
    pub(super) fn half_open_timeout(&self) -> Duration {
        self.core().shared.plan().half_open.timeout
    }
}

impl Core {
    #[inline]
    pub(super) fn admit(&self) -> Result<Ticket, Rejected> {
        let control = self.shared.control();
        if control.gate().is_free() {
            let started = if self.shared.plan().measures_latency() { self.clock.now() } else { Tick::default() };
            return Ok(Ticket { generation: control.generation(), started });
        }
        self.admit_now(control)
    }

    #[cold]
    fn admit_now(&self, control: Control) -> Result<Ticket, Rejected> {
        let now = self.clock.now();
        if let Some(refusal) = self.shared.refusal(control, now) {
            return Err(self.rejected(refusal));
        }
        match self.step(now, |machine, plan| machine.admit(plan, now)) {
            Ok(generation) => Ok(Ticket { generation, started: now }),
            Err(refusal) => Err(self.rejected(refusal)),
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
        self.step(now, |machine, plan| (!machine.would_admit(plan, now), None))
    }

    /// The rejection of a call that may not be made although no permit was refused.
    #[cold]
    pub(super) fn rejection(&self) -> Rejected {
        let now = self.clock.now();
        if let Some(refusal) = self.shared.refusal(self.shared.control(), now) {
            return self.rejected(refusal);
        }
        self.rejected(self.step(now, |machine, plan| (machine.refusal(plan, now), None)))
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
            return self.settle_under_lock(ticket, ending, hint);
        };
        let now = self.clock.now();
        let Some(call) = self.shared.plan().call(ending, now.nanos_since(started)) else { return };
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
        self.step(now, |machine, plan| {
            let call = plan.call(ending, now.nanos_since(started));
            ((), machine.settle(plan, generation, call, hint, now))
        });
    }

    /// What dates in `Retry-After` are compared with, where that is heard.
    #[inline]
    pub(super) fn hint_clock(&self) -> Option<&WallClock> {
        self.wall_clock.as_ref()
    }

    /// Takes a step under the lock, and tells of the changes once it is free: whoever listens may call back.
    fn step<T>(&self, now: Tick, step: impl FnOnce(&mut Machine, &Plan) -> (T, Option<Change>)) -> T {
        let (answer, changes) = self.shared.step(now, step);
        self.announce(changes);
        answer
    }

    fn rejected(&self, refusal: Refusal) -> Rejected {
        Rejected::new(self.name, Refusal { wait: self.waiting(refusal.wait), ..refusal })
    }

    /// The wait, in nanoseconds, after which the clock has reached the moment, however far it lags.
    fn waiting(&self, span: u64) -> u64 {
        if span == 0 { 0 } else { span.saturating_add(nanos(self.clock.resolution())) }
    }

    fn announce(&self, changes: Changes) {
        for change in changes.into_iter().flatten() {
            self.announce_one(change);
        }
    }

    #[cold]
    fn announce_one(&self, change: Change) {
        let Change { from, to, trip } = change;
        let (circuit, before) = (self.name.as_str(), from.as_str());
        match trip.filter(|_| matches!(to, State::Open | State::Observing)) {
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
        fence(Ordering::SeqCst);
        if let Some(changed) = self.changed.get() {
            changed.notify_waiters();
        }
    }
}

/// Its name and a [`Snapshot`], taken before anything is written.
impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot();
        f.debug_struct("Circuit").field("name", &self.core().name).field("snapshot", &snapshot).finish()
    }
}
