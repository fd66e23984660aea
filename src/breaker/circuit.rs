//! The circuit that calls share: the one place that synchronises.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    error::{BreakerError, Rejected},
    machine::{Change, Ending, Machine, Plan},
    name::Name,
    permit::Permit,
    settings::CircuitBuilder,
    snapshot::{Snapshot, State},
};
use crate::{
    outcome::{Classify, Results},
    time::{Clock, Tick},
    trace::event,
};

/// A circuit: the memory of how calls to one service went, and the verdict on whether to make another.
///
/// Clones are handles to the same circuit, so it is shared by saying so. It is used through a
/// [`CircuitBreakerLayer`](super::CircuitBreakerLayer), or without tower through [`call`](Self::call),
/// [`call_async`](Self::call_async) and [`acquire`](Self::acquire).
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
/// assert!(rejected.retry_after().unwrap() <= Duration::from_secs(15));
/// assert_eq!(circuit.snapshot().state, State::Open);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Circuit(Arc<Shared>);

struct Shared {
    name: Name,
    clock: Clock,
    machine: Mutex<Machine>,
    changed: Arc<Notify>,
}

impl Circuit {
    /// Begins a circuit of this name, which rejections, events and metrics carry.
    pub fn builder(name: impl Into<Name>) -> CircuitBuilder {
        CircuitBuilder::new(name.into())
    }

    pub(super) fn new(name: Name, plan: Plan, clock: Clock) -> Self {
        Self(Arc::new(Shared { name, clock, machine: Mutex::new(Machine::new(plan)), changed: Arc::default() }))
    }

    /// The circuit's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name.as_str()
    }

    /// Asks to make one call now; the permit has to hear how it ended.
    ///
    /// # Errors
    ///
    /// [`Rejected`] while the circuit is open, and while it is half-open with all its permits taken.
    pub fn acquire(&self) -> Result<Permit, Rejected> {
        let now = self.0.clock.now();
        match self.step(now, |machine| machine.admit(now)) {
            Ok(epoch) => Ok(Permit::new(self.clone(), epoch, now)),
            Err(refusal) => Err(Rejected::new(self.0.name, refusal)),
        }
    }

    /// Makes a call and counts it: `Ok` as a success, `Err` and a panic as a failure.
    ///
    /// # Errors
    ///
    /// [`BreakerError::Rejected`] where the circuit did not let the call through, else the call's own error.
    pub fn call<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, BreakerError<E>> {
        let permit = self.acquire()?;
        let result = call();
        permit.settle(Results.classify(result.as_ref()));
        result.map_err(BreakerError::Inner)
    }

    /// Awaits a call and counts it as [`call`](Self::call) does; dropping the future settles it as cancelled.
    ///
    /// # Errors
    ///
    /// [`BreakerError::Rejected`] where the circuit did not let the call through, else the call's own error.
    pub async fn call_async<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, BreakerError<E>> {
        let permit = self.acquire()?;
        super::future::Calling::new(call, permit, Results).await.map_err(BreakerError::Inner)
    }

    /// The circuit's state, counts and rates now. It takes no permit.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let now = self.0.clock.now();
        self.step(now, |machine| (machine.snapshot(now), None))
    }

    /// Closes the circuit with an empty window; calls that are under way are not counted in it.
    pub fn reset(&self) {
        self.step(self.0.clock.now(), |machine| ((), machine.reset()));
    }

    /// Waits for the next change of state.
    ///
    /// It counts from the moment it is called, so a change between this call and its first poll is not missed. It may
    /// wake early: read [`snapshot`](Self::snapshot) and wait again. A half-open period that ends by its timeout is heard of
    /// when the circuit is next touched, since nobody watches it.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        Arc::clone(&self.0.changed).notified_owned()
    }

    /// Whether a call would be rejected; takes nothing.
    pub(super) fn would_reject(&self) -> bool {
        // While closed, which is most of the time, it is not the clock's affair.
        if self.lock().is_closed() {
            return false;
        }
        let now = self.0.clock.now();
        self.step(now, |machine| (!machine.would_admit(now), None))
    }

    /// The rejection of a call that may not be made although no permit was refused.
    pub(super) fn rejection(&self) -> Rejected {
        let now = self.0.clock.now();
        Rejected::new(self.0.name, self.step(now, |machine| (machine.refusal(now), None)))
    }

    /// The longest that a half-open period lasts.
    pub(super) fn half_open_timeout(&self) -> Duration {
        self.lock().half_open_timeout()
    }

    pub(super) fn settle(&self, epoch: u64, ending: Ending, started: Tick) {
        let now = self.0.clock.now();
        self.step(now, |machine| ((), machine.settle(epoch, ending, now.since(started), now)));
    }

    /// Takes a step at `now`, and tells of the changes once the lock is free: whoever listens may call back.
    fn step<T>(&self, now: Tick, step: impl FnOnce(&mut Machine) -> (T, Option<Change>)) -> T {
        let mut machine = self.lock();
        let expired = machine.expire(now);
        let (answer, changed) = step(&mut machine);
        drop(machine);
        for change in [expired, changed].into_iter().flatten() {
            self.announce(change);
        }
        answer
    }

    fn announce(&self, change: Change) {
        let Change { from, to, trip } = change;
        let (circuit, before) = (self.name(), from.as_str());
        match trip.filter(|_| to == State::Open) {
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
        self.0.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        // Nothing under the lock can panic half-way through a step: no user code runs there.
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its name and a [`Snapshot`], taken before anything is written.
impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot();
        f.debug_struct("Circuit").field("name", &self.0.name).field("snapshot", &snapshot).finish()
    }
}
