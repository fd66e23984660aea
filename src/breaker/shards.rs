//! Circuits by key, in maps that few threads share at once.

use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::circuit::Circuit;
use crate::time::Tick;

/// So many circuits at least share a lock, or a bound could not be kept where keys fall unevenly.
const SMALLEST: usize = 64;
const MOST_SHARDS: usize = 64;
/// So many are looked at, at most, to find one that may go: a key that finds no place costs little.
const TRIES: usize = 16;

pub(super) struct Shards<K> {
    hasher: RandomState,
    /// A power of two.
    shards: Box<[RwLock<Shard<K>>]>,
    capacity: usize,
    /// Of all shards; never above the capacity.
    number: AtomicUsize,
    /// The shard that is asked next for a place, where one's own has none.
    next: AtomicUsize,
}

struct Shard<K> {
    circuits: HashMap<K, Slot, RandomState>,
    /// All keys, in the order in which they are looked at for one that may go.
    queue: VecDeque<K>,
}

struct Slot {
    circuit: Circuit,
    /// When it was last asked for, in nanoseconds.
    used: AtomicU64,
}

impl<K: Clone + Eq + Hash> Shards<K> {
    pub(super) fn new(capacity: usize) -> Self {
        let number = (capacity / SMALLEST).clamp(1, MOST_SHARDS);
        let number = if number.is_power_of_two() { number } else { number.next_power_of_two() / 2 };
        let hasher = RandomState::new();
        let shard = |_| RwLock::new(Shard { circuits: HashMap::with_hasher(hasher.clone()), queue: VecDeque::new() });
        let shards = (0..number).map(shard).collect();
        Self { hasher, shards, capacity, number: AtomicUsize::new(0), next: AtomicUsize::new(0) }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<Shard<K>> {
        // The map takes the lowest and the highest bits.
        let bits = self.hasher.hash_one(key) >> 32;
        let number = bits as usize & (self.shards.len() - 1);
        &self.shards[number]
    }

    /// The circuit of `key`, where there is one.
    pub(super) fn get<Q>(&self, key: &Q, now: Tick) -> Option<Circuit>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        let slot = shard.circuits.get(key)?;
        // Relaxed, and written only where it is new: it is compared with spans that are far longer than a race.
        if slot.used.load(Ordering::Relaxed) != now.as_nanos() {
            slot.used.store(now.as_nanos(), Ordering::Relaxed);
        }
        Some(slot.circuit.clone())
    }

    /// Keeps a new circuit for `key`, unless there is one by now; `None` where all places are taken by circuits that may not go,
    /// and then none is made.
    pub(super) fn insert(
        &self,
        key: K,
        new: impl FnOnce() -> Circuit,
        now: Tick,
        is_idle: impl Fn(&Circuit, Tick) -> bool,
    ) -> Option<Circuit> {
        let own = self.shard(&key);
        // What goes is dropped when no lock is held: whoever waits for it is told.
        let gone = if self.take_place() { None } else { Some(self.make_place(own, is_idle)?) };
        // Its window may be large: nobody waits for that to be made.
        let circuit = new();
        let mut shard = write(own);
        let used = AtomicU64::new(now.as_nanos());
        let mut is_new = true;
        let kept = match shard.circuits.get(&key) {
            Some(slot) => {
                is_new = false;
                slot.circuit.clone()
            }
            None => {
                shard.queue.push_back(key.clone());
                shard.circuits.insert(key, Slot { circuit: circuit.clone(), used });
                circuit
            }
        };
        drop(shard);
        if !is_new {
            self.give_place();
        }
        drop(gone);
        Some(kept)
    }

    /// Takes the place of a circuit that is idle.
    fn make_place(&self, own: &RwLock<Shard<K>>, is_idle: impl Fn(&Circuit, Tick) -> bool) -> Option<Circuit> {
        // One lock at a time: the next may be one's own.
        let evicted = write(own).evict(&is_idle);
        if evicted.is_some() {
            return evicted;
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed) & (self.shards.len() - 1);
        write(&self.shards[next]).evict(&is_idle)
    }

    fn take_place(&self) -> bool {
        // Relaxed: a number, and nothing that it stands for.
        self.number
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| (number < self.capacity).then_some(number + 1))
            .is_ok()
    }

    fn give_place(&self) {
        self.number.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn remove<Q>(&self, key: &Q) -> Option<Circuit>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut shard = write(self.shard(key));
        let slot = shard.circuits.remove(key)?;
        shard.queue.retain(|other| other.borrow() != key);
        drop(shard);
        self.give_place();
        Some(slot.circuit)
    }

    pub(super) fn len(&self) -> usize {
        self.number.load(Ordering::Relaxed)
    }

    pub(super) fn all(&self) -> Vec<(K, Circuit)> {
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.circuits.iter().map(|(key, slot)| (key.clone(), slot.circuit.clone())));
        }
        all
    }
}

impl<K: Clone + Eq + Hash> Shard<K> {
    /// Forgets one that is idle, of the next few. Nobody else can get hold of any of them meanwhile.
    fn evict(&mut self, is_idle: impl Fn(&Circuit, Tick) -> bool) -> Option<Circuit> {
        for _ in 0..TRIES.min(self.queue.len()) {
            let key = self.queue.pop_front()?;
            let slot = self.circuits.get(&key)?;
            if is_idle(&slot.circuit, Tick::from_nanos(slot.used.load(Ordering::Relaxed))) {
                return self.circuits.remove(&key).map(|slot| slot.circuit);
            }
            self.queue.push_back(key);
        }
        None
    }
}

fn write<K>(shard: &RwLock<Shard<K>>) -> RwLockWriteGuard<'_, Shard<K>> {
    // A key that panics when it is compared does so before anything is changed.
    shard.write().unwrap_or_else(PoisonError::into_inner)
}
