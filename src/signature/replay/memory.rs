//! The store of one process.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    future::{Ready, ready},
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{ReplayKey, ReplayStore, Reserved};
use crate::{
    config::{ConfigError, at_least_one},
    time::{Clock, Tick},
};

/// As many expired keys are forgotten with each that is reserved, so that none of them takes long.
const SWEPT: usize = 8;

/// A [`ReplayStore`] in this process's memory, for at most so many messages; clones share it.
///
/// When it is full, messages that it does not know are answered 503, so that they are sent again later: forgetting the
/// oldest instead would let whoever can fill it replay them. So it needs room for all messages of the time that the layer
/// [remembers](super::super::SignatureLayer::remember_for) them, and for those that are running. Each takes about 200 bytes,
/// and none is taken ahead. Only messages that were verified get here.
///
/// Give each sender a store of its own: the ids of different senders can be the same. It knows nothing of what other
/// processes let through, and forgets all when this one ends.
///
/// ```
/// use portcullis::signature::MemoryReplayStore;
///
/// let store = MemoryReplayStore::new(100_000)?;
/// assert_eq!(store.len(), 0);
/// assert!(MemoryReplayStore::new(0).is_err());
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct MemoryReplayStore {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    capacity: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Until when a message is remembered; none for one that is running.
    keys: HashMap<ReplayKey, Option<Tick>>,
    /// Those that are remembered, the first to expire first.
    ends: BTreeSet<(Tick, ReplayKey)>,
}

impl MemoryReplayStore {
    /// Room for `capacity` messages.
    ///
    /// # Errors
    ///
    /// When that is none.
    pub fn new(capacity: usize) -> Result<Self, ConfigError> {
        Self::with_clock(capacity, Clock::precise())
    }

    /// The same with another clock, as tests want it.
    ///
    /// # Errors
    ///
    /// When `capacity` is none.
    pub fn with_clock(capacity: usize, clock: Clock) -> Result<Self, ConfigError> {
        at_least_one("capacity", NonZero::new(capacity))?;
        Ok(Self { shared: Arc::new(Shared { clock, capacity, known: Mutex::default() }) })
    }

    /// How many messages it holds, running, remembered, or expired and not swept yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.known().keys.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for MemoryReplayStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReplayStore")
            .field("len", &self.len())
            .field("capacity", &self.shared.capacity)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// No code of anyone else's runs under the lock, so a poisoned one is as good as any.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn sweep(&mut self, now: Tick) {
        for _ in 0..SWEPT {
            match self.ends.first() {
                Some((end, _)) if *end <= now => {}
                _ => return,
            }
            if let Some((_, key)) = self.ends.pop_first() {
                self.keys.remove(&key);
            }
        }
    }

    /// Forgets a message that may be remembered.
    fn forget(&mut self, key: ReplayKey) {
        if let Some(Some(end)) = self.keys.remove(&key) {
            self.ends.remove(&(end, key));
        }
    }
}

impl ReplayStore for MemoryReplayStore {
    type Lease = MemoryLease;
    type Error = Full;
    type Reserving = Ready<Result<Reserved<MemoryLease>, Full>>;
    type Settling = Ready<Result<(), Full>>;

    fn reserve(&self, key: ReplayKey, _remember: Duration) -> Self::Reserving {
        let now = self.shared.clock.now();
        let mut known = self.shared.known();
        known.sweep(now);
        ready(match known.keys.get(&key) {
            Some(None) => Ok(Reserved::Running),
            Some(Some(end)) if *end > now => Ok(Reserved::Done),
            expired => {
                if expired.is_some() {
                    known.forget(key);
                }
                if known.keys.len() >= self.shared.capacity {
                    Err(Full)
                } else {
                    known.keys.insert(key, None);
                    Ok(Reserved::New(MemoryLease { shared: Arc::clone(&self.shared), key, committed: false }))
                }
            }
        })
    }

    fn commit(&self, lease: MemoryLease, remember: Duration) -> Self::Settling {
        lease.commit(remember);
        ready(Ok(()))
    }

    fn release(&self, lease: MemoryLease) -> Self::Settling {
        drop(lease);
        ready(Ok(()))
    }
}

/// A key of a [`MemoryReplayStore`] that is reserved; dropping it releases the key.
pub struct MemoryLease {
    shared: Arc<Shared>,
    key: ReplayKey,
    committed: bool,
}

impl MemoryLease {
    fn commit(mut self, remember: Duration) {
        let end = self.shared.clock.now().after(remember);
        let mut known = self.shared.known();
        known.keys.insert(self.key, Some(end));
        known.ends.insert((end, self.key));
        drop(known);
        self.committed = true;
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        if !self.committed {
            self.shared.known().keys.remove(&self.key);
        }
    }
}

impl fmt::Debug for MemoryLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryLease(..)")
    }
}

/// A [`MemoryReplayStore`] has no room for one more message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store of replays is full")
    }
}

impl std::error::Error for Full {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(n: usize) -> ReplayKey {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        ReplayKey::of(bytes)
    }

    fn reserve(store: &MemoryReplayStore, n: usize) -> Result<Reserved<MemoryLease>, Full> {
        store.reserve(key(n), MINUTE).into_inner()
    }

    #[track_caller]
    fn lease(store: &MemoryReplayStore, n: usize) -> MemoryLease {
        match reserve(store, n) {
            Ok(Reserved::New(lease)) => lease,
            other => panic!("{n}: {other:?}"),
        }
    }

    #[test]
    fn a_key_is_running_until_it_is_committed_or_released() {
        let store = MemoryReplayStore::new(10).unwrap();
        let running = lease(&store, 1);
        assert!(matches!(reserve(&store, 1), Ok(Reserved::Running)));
        store.release(running).into_inner().unwrap();
        drop(lease(&store, 1));
        store.commit(lease(&store, 1), MINUTE).into_inner().unwrap();
        assert!(matches!(reserve(&store, 1), Ok(Reserved::Done)));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn it_remembers_for_as_long_as_it_is_told_and_no_longer() {
        let clock = ManualClock::new();
        let store = MemoryReplayStore::with_clock(10, clock.clock()).unwrap();
        let running = lease(&store, 1);
        clock.advance(MINUTE * 60);
        assert!(matches!(reserve(&store, 1), Ok(Reserved::Running)), "what runs does not expire");
        store.commit(running, MINUTE).into_inner().unwrap();
        clock.advance(MINUTE - Duration::from_nanos(1));
        assert!(matches!(reserve(&store, 1), Ok(Reserved::Done)));
        clock.advance(Duration::from_nanos(1));
        let again = lease(&store, 1);
        store.commit(again, Duration::MAX).into_inner().unwrap();
        clock.advance(MINUTE * 1_000_000);
        assert!(matches!(reserve(&store, 1), Ok(Reserved::Done)));
    }

    #[test]
    fn a_full_one_forgets_nothing_before_its_time() {
        let clock = ManualClock::new();
        let store = MemoryReplayStore::with_clock(20, clock.clock()).unwrap();
        for n in 0..19 {
            store.commit(lease(&store, n), MINUTE).into_inner().unwrap();
        }
        let running = lease(&store, 19);
        assert!(matches!(reserve(&store, 20), Err(Full)));
        assert!(matches!(reserve(&store, 0), Ok(Reserved::Done)), "what it knows it still knows");
        drop(running);
        drop(lease(&store, 20));
        clock.advance(MINUTE);
        // Each that is reserved sweeps up more than it takes.
        let held: Vec<_> = (20..40).map(|n| lease(&store, n)).collect();
        assert_eq!((held.len(), store.len()), (20, 20));
        assert!(store.shared.known().ends.is_empty());
    }

    /// More expire at once than one call sweeps: the last of them is asked for, and is not taken for known.
    #[test]
    fn an_expired_key_that_is_not_swept_yet_is_new() {
        let clock = ManualClock::new();
        let store = MemoryReplayStore::with_clock(100, clock.clock()).unwrap();
        for n in 0..100 {
            store.commit(lease(&store, n), MINUTE).into_inner().unwrap();
        }
        clock.advance(MINUTE);
        drop(lease(&store, 99));
        let known = store.shared.known();
        assert_eq!((known.keys.len(), known.ends.len()), (100 - SWEPT - 1, 100 - SWEPT - 1));
    }
}
