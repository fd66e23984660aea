//! One circuit for each key.

use std::{borrow::Borrow, fmt, hash::Hash, num::NonZero, sync::Arc, time::Duration};

use super::{builder::CircuitBuilder, circuit::Circuit, core::Core, name::Name, plan::Plan, shards::Shards};
use crate::{
    config::{ConfigError, above_zero, at_least_one},
    time::{Clock, Tick, WallClock, nanos},
};

/// Circuits by key (a host, a tenant), made on first use from one configuration, and bounded in number.
///
/// Clones are handles to the same circuits. A lookup takes a read lock that few keys share, and a circuit of one stripe takes
/// some 900 bytes with its place, unless the configuration says [`stripes`](CircuitBuilder::stripes).
///
/// Where all places are taken, a new key gets the place of a circuit that is **idle**: closed, held by nobody, and not asked for
/// since [`idle_after`](CircuitsBuilder::idle_after). A circuit that is open, half-open, set by hand, in use, or was used lately, is never
/// forgotten. A key for which there is no place shares one circuit with all others in that plight, the
/// [`overflow`](Self::overflow): the service stays protected, and memory bounded, and those keys are not told apart until a
/// place is free. An open circuit whose key is never asked for again keeps its place until it is [removed](Self::remove).
///
/// ```
/// use portcullis::breaker::{Circuit, Circuits, Name, State};
///
/// let settings = Circuit::builder("tenants").consecutive_failures(1);
/// let circuits = Circuits::builder(settings)
///     .capacity(10_000)
///     .name(|tenant: &String| Name::inline(tenant).unwrap_or("tenant".into()))
///     .build()?;
///
/// circuits.get("acme").acquire().unwrap().failure();
/// assert_eq!(circuits.get("acme").acquire().unwrap_err().circuit(), "acme");
/// assert_eq!(circuits.get("umbrella").snapshot().state, State::Closed);
/// assert_eq!(circuits.len(), 2);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
pub struct Circuits<K>(Arc<Inner<K>>);

type Naming<K> = Arc<dyn Fn(&K) -> Name + Send + Sync>;

struct Inner<K> {
    shards: Shards<K>,
    kind: Kind,
    name: Option<Naming<K>>,
    overflow: Circuit,
    /// In nanoseconds.
    idle_after: u64,
}

/// What all the circuits have in common.
struct Kind {
    name: Name,
    plan: Plan,
    clock: Clock,
    wall_clock: WallClock,
    stripes: usize,
}

impl Kind {
    fn circuit(&self, name: Name) -> Circuit {
        Circuit::new(Core::new(name, self.plan, self.clock.clone(), self.wall_clock.clone(), self.stripes))
    }
}

impl<K: Clone + Eq + Hash> Circuits<K> {
    /// Begins circuits that are all built as `circuit` says.
    pub const fn builder(circuit: CircuitBuilder) -> CircuitsBuilder<K> {
        CircuitsBuilder { circuit, capacity: 10_000, idle_after: None, name: None }
    }

    /// The circuit of `key`, which is made where there is none; the [overflow](Self::overflow) where there is no place for it.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Circuit
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.0.kind.clock.now();
        self.0.shards.get(key, now).unwrap_or_else(|| self.make(key.to_owned(), now))
    }

    #[cold]
    fn make(&self, key: K, now: Tick) -> Circuit {
        let Inner { shards, kind, name, overflow, idle_after } = &*self.0;
        // Before any place is taken: the name is the user's code.
        let name = name.as_ref().map_or(kind.name, |name| name(&key));
        let is_idle = |circuit: &Circuit, used: Tick| now.nanos_since(used) >= *idle_after && circuit.is_forgettable();
        shards.insert(key, || kind.circuit(name), now, is_idle).unwrap_or_else(|| overflow.clone())
    }

    /// The circuit that all keys share for which there is no place; it has the configuration's own name.
    #[must_use]
    pub fn overflow(&self) -> &Circuit {
        &self.0.overflow
    }

    /// Forgets the circuit of `key`, whatever its state; whoever holds it goes on with it, and the next who asks gets a new one.
    pub fn remove<Q>(&self, key: &Q) -> Option<Circuit>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.shards.remove(key)
    }

    /// How many circuits there are, without the overflow.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shards.len()
    }

    /// Whether there is no circuit but the overflow: no key was asked for yet, or all were [removed](Self::remove).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All circuits with their keys, without the overflow, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<(K, Circuit)> {
        self.0.shards.all()
    }
}

impl<K> Clone for Circuits<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// How they are named and how many there may be; the keys are not shown.
impl<K> fmt::Debug for Circuits<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuits").field("name", &self.0.kind.name).finish_non_exhaustive()
    }
}

/// Builds [`Circuits`]; made by [`Circuits::builder`].
#[must_use]
pub struct CircuitsBuilder<K> {
    circuit: CircuitBuilder,
    capacity: usize,
    idle_after: Option<Duration>,
    name: Option<Naming<K>>,
}

impl<K: Clone + Eq + Hash> CircuitsBuilder<K> {
    /// How many circuits there may be at most, without the overflow. Default: 10,000.
    pub const fn capacity(mut self, circuits: usize) -> Self {
        self.capacity = circuits;
        self
    }

    /// How long nobody has asked for a closed circuit before its place may go to another key. Default: the time window, since
    /// a circuit remembers nothing of it by then but a run of failures; a minute for a count window.
    pub const fn idle_after(mut self, span: Duration) -> Self {
        self.idle_after = Some(span);
        self
    }

    /// How the circuit of a key is called. Default: all have the configuration's name.
    pub fn name(mut self, name: impl Fn(&K) -> Name + Send + Sync + 'static) -> Self {
        self.name = Some(Arc::new(name));
        self
    }

    /// Builds it, without any circuit yet.
    ///
    /// # Errors
    ///
    /// As [`CircuitBuilder::build`]; and where there is no place for any circuit, or `idle_after` is zero.
    pub fn build(self) -> Result<Circuits<K>, ConfigError> {
        let Self { circuit, capacity, idle_after, name } = self;
        let plan = circuit.plan()?;
        at_least_one("capacity", NonZero::new(capacity))?;
        let idle_after = idle_after.unwrap_or_else(|| plan.time_window().unwrap_or(Duration::from_secs(60)));
        let idle_after = nanos(above_zero("idle_after", idle_after)?);
        let clock = circuit.clock.unwrap_or_else(|| Clock::fine_enough_for(plan.shortest_span()));
        let stripes = circuit.stripes.unwrap_or(1);
        let kind = Kind { name: circuit.name, plan, clock, wall_clock: circuit.wall_clock, stripes };
        let overflow = kind.circuit(kind.name);
        Ok(Circuits(Arc::new(Inner { shards: Shards::new(capacity), kind, name, overflow, idle_after })))
    }
}

impl<K> fmt::Debug for CircuitsBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitsBuilder")
            .field("circuit", &self.circuit)
            .field("capacity", &self.capacity)
            .field("idle_after", &self.idle_after)
            .finish_non_exhaustive()
    }
}
