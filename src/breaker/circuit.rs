//! The circuit as its users hold it: a handle to what all its handles [share](super::core).

use std::{
    convert::identity,
    fmt,
    future::Future,
    sync::{Arc, Weak},
};

use super::{
    builder::CircuitBuilder,
    core::Core,
    error::{BreakerError, Rejected},
    name::Name,
    permit::{OnPanic, Permit},
    phase::ByHand,
    plan::Ending,
    snapshot::{Snapshot, State},
    subscription::Subscription,
};
use crate::{
    config::ConfigError,
    handle::Handle,
    outcome::{Classify, Outcome, Results},
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
pub struct Circuit(Handle<Core>);

/// A handle that does not keep the circuit alive.
#[derive(Clone)]
pub(super) enum WeakCircuit {
    Counted(Weak<Core>),
    Leaked(&'static Core),
}

impl WeakCircuit {
    /// The circuit, unless its last handle is gone.
    pub(super) fn upgrade(&self) -> Option<Circuit> {
        Some(Circuit(match self {
            Self::Counted(core) => Handle::Counted(core.upgrade()?),
            Self::Leaked(core) => Handle::Leaked(core),
        }))
    }
}

impl fmt::Debug for WeakCircuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.upgrade(), f)
    }
}

impl Circuit {
    /// Begins a circuit of this name, which rejections, events and metrics carry.
    pub fn builder(name: impl Into<Name>) -> CircuitBuilder {
        CircuitBuilder::new(name.into())
    }

    pub(super) fn new(core: Core) -> Self {
        Self(Handle::new(core))
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
        Self(self.0.leak())
    }

    /// Whether nothing is lost with it: it is closed, and this is the only handle.
    pub(super) fn is_forgettable(&self) -> bool {
        match &self.0 {
            Handle::Counted(core) => Arc::strong_count(core) == 1 && core.state() == State::Closed,
            Handle::Leaked(_) => false,
        }
    }

    pub(super) fn downgrade(&self) -> WeakCircuit {
        match &self.0 {
            Handle::Counted(core) => WeakCircuit::Counted(Arc::downgrade(core)),
            Handle::Leaked(core) => WeakCircuit::Leaked(core),
        }
    }

    #[inline]
    pub(super) fn core(&self) -> &Core {
        &self.0
    }

    /// The circuit's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.core().name().as_str()
    }

    /// Asks to make one call now; the permit has to hear how it ended.
    ///
    /// # Errors
    ///
    /// [`Rejected`] while the circuit is open, and while it is half-open with all its permits taken.
    #[inline]
    pub fn acquire(&self) -> Result<Permit, Rejected> {
        match self.core().admit() {
            Ok(ticket) => Ok(Permit::new(self.clone(), ticket)),
            Err(barred) => self.core().reject(barred, Err),
        }
    }

    /// Makes a call and counts it: `Ok` as a success, `Err` and a panic as a failure.
    ///
    /// # Errors
    ///
    /// [`BreakerError::Rejected`] where the circuit did not let the call through, else the call's own error.
    #[inline]
    pub fn call<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, BreakerError<E>> {
        let core = self.core();
        let ticket = match core.admit() {
            Ok(ticket) => ticket,
            Err(barred) => return core.reject(barred, |rejected| Err(rejected.into())),
        };
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
        let ticket = self.core().admit().map_err(|barred| self.core().reject(barred, identity))?;
        super::future::Calling::new(call, self.clone(), ticket, Results).await.map_err(BreakerError::Inner)
    }

    /// The circuit's state, counts and rates now. It takes no permit.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.core().snapshot()
    }

    /// Closes the circuit with an empty window, whatever its state; calls that are under way are not counted in it.
    pub fn reset(&self) {
        self.core().set(ByHand::Closed);
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
        self.core().set(ByHand::ForcedOpen);
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
        self.core().set(ByHand::Disabled);
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
        self.core().set(ByHand::Observing);
    }

    /// Goes on with other settings and with all that was counted; the state stays what it is.
    ///
    /// Limits of rules hold from the next outcome on, which may open the circuit. An open time that has begun stays as long as it
    /// was; a half-open period and its timeout are judged by the new settings at once. The name, the clocks and the stripes
    /// stay those of the circuit, whatever `settings` say.
    ///
    /// # Errors
    ///
    /// As [`CircuitBuilder::build`]; and where a setting cannot change: the window, and whether there is a limit for
    /// `consecutive_failures`, a `slow_call`, a `mean_latency` or an `honour_retry_after` at all. The circuit then goes on as before.
    ///
    /// ```
    /// use portcullis::breaker::{Circuit, State};
    ///
    /// let settings = Circuit::builder("customer-api").failures(100);
    /// let circuit = settings.clone().build()?;
    /// circuit.acquire().unwrap().failure();
    /// circuit.reconfigure(settings.failures(2))?;
    /// assert_eq!(circuit.snapshot().failures, 1);
    /// circuit.acquire().unwrap().failure();
    /// assert_eq!(circuit.snapshot().state, State::Open);
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, settings: CircuitBuilder) -> Result<(), ConfigError> {
        self.core().reconfigure(settings.plan()?)
    }

    /// Hears of every change of state from now on, with the rule that tripped and its figures.
    ///
    /// Nothing is kept for anybody until the first subscribes. Whoever hears of a change may call back into the circuit. A
    /// half-open period that ends by its timeout is heard of when the circuit is next touched, since nobody watches it.
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self)
    }

    /// Waits for the next change of state.
    ///
    /// It counts from the moment it is called, so a change between this call and its first poll is not missed. It may
    /// wake early: read [`snapshot`](Self::snapshot) and wait again. A half-open period that ends by its timeout is heard of
    /// when the circuit is next touched, since nobody watches it.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.core().changed()
    }
}

/// Its name and a [`Snapshot`], taken before anything is written.
impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot();
        f.debug_struct("Circuit").field("name", self.core().name()).field("snapshot", &snapshot).finish()
    }
}
