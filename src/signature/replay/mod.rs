//! Replays: a message that was let through before is not let through again.

mod content; // what a message is known by
mod memory; // the store of one process

use std::{fmt, future::Future, sync::Arc, time::Duration};

pub(super) use self::content::Content;
pub use self::{
    content::ReplayKey,
    memory::{Full, MemoryLease, MemoryReplayStore},
};

/// Remembers which messages were let through, for [`SignatureLayer::refuse_replays`].
///
/// [`SignatureLayer::refuse_replays`]: super::SignatureLayer::refuse_replays
///
/// The layer [reserves](Self::reserve) a message's key before the inner service is called, [commits](Self::commit) it when
/// that answers with 2xx, and [releases](Self::release) it when it answers otherwise or fails. Where the call is dropped or
/// panics, the lease is dropped, and that has to release the key too.
///
/// The futures are named, so that a store that needs no box has none. One over a network boxes them. A store for Redis, for
/// example: `reserve` is `SET key running NX PX 60000 GET`, where nothing means a new lease, `running` and `done` mean what
/// they say, and the minute is the longest that a call may take; `commit` is `SET key done PX remember`; `release` and a
/// dropped lease are `DEL key`, the latter by a task of the store's own, or left to the minute.
///
/// ```
/// use std::{future::{Ready, ready}, sync::mpsc::{Sender, channel}, time::Duration};
/// use portcullis::signature::{ReplayKey, ReplayStore, Reserved};
///
/// /// Tells another thread what happens, and lets everything through.
/// struct Told(Sender<(&'static str, ReplayKey)>);
///
/// struct Lease {
///     tell: Sender<(&'static str, ReplayKey)>,
///     key: ReplayKey,
///     end: &'static str,
/// }
///
/// impl Drop for Lease {
///     fn drop(&mut self) {
///         let _ = self.tell.send((self.end, self.key));
///     }
/// }
///
/// impl ReplayStore for Told {
///     type Lease = Lease;
///     type Error = std::convert::Infallible;
///     type Reserving = Ready<Result<Reserved<Lease>, Self::Error>>;
///     type Settling = Ready<Result<(), Self::Error>>;
///
///     fn reserve(&self, key: ReplayKey, _remember: Duration) -> Self::Reserving {
///         ready(Ok(Reserved::New(Lease { tell: self.0.clone(), key, end: "released" })))
///     }
///
///     fn commit(&self, mut lease: Lease, _remember: Duration) -> Self::Settling {
///         lease.end = "committed";
///         ready(Ok(()))
///     }
///
///     fn release(&self, lease: Lease) -> Self::Settling {
///         drop(lease);
///         ready(Ok(()))
///     }
/// }
/// # let _ = Told(channel().0);
/// ```
pub trait ReplayStore {
    /// Holds a key for one request; dropping it releases the key, as soon as the store can.
    type Lease;
    /// What goes wrong with a store. The request is answered 503 then, and the event that tells of it shows this error.
    type Error: fmt::Display;
    /// The future of [`reserve`](Self::reserve). Dropped before it is done, it leaves nothing reserved for good.
    type Reserving: Future<Output = Result<Reserved<Self::Lease>, Self::Error>>;
    /// The future of [`commit`](Self::commit) and [`release`](Self::release). Dropped before it is done, it leaves the key
    /// either way.
    type Settling: Future<Output = Result<(), Self::Error>>;

    /// Reserves `key`, unless it is reserved or was committed in the last `remember`. Of any number that ask at once, one
    /// gets the lease.
    fn reserve(&self, key: ReplayKey, remember: Duration) -> Self::Reserving;

    /// The message was let through and answered well: keeps its key for `remember` from now on.
    fn commit(&self, lease: Self::Lease, remember: Duration) -> Self::Settling;

    /// The message was not answered well: forgets its key, so that it can be sent again.
    fn release(&self, lease: Self::Lease) -> Self::Settling;
}

/// What a [`ReplayStore`] knows of a message.
#[derive(Debug)]
pub enum Reserved<L> {
    /// Nothing until now. The key is reserved for as long as the lease lives.
    New(L),
    /// It is being answered right now.
    Running,
    /// It was let through before.
    Done,
}

/// Where no replays are refused: there is no such store.
#[derive(Clone, Copy, Debug)]
pub enum NoReplayStore {}

impl ReplayStore for NoReplayStore {
    type Lease = Self;
    type Error = std::convert::Infallible;
    type Reserving = std::future::Ready<Result<Reserved<Self>, Self::Error>>;
    type Settling = std::future::Ready<Result<(), Self::Error>>;

    fn reserve(&self, _: ReplayKey, _: Duration) -> Self::Reserving {
        match *self {}
    }

    fn commit(&self, lease: Self, _: Duration) -> Self::Settling {
        match lease {}
    }

    fn release(&self, lease: Self) -> Self::Settling {
        match lease {}
    }
}

impl<P: ReplayStore + ?Sized> ReplayStore for Arc<P> {
    type Lease = P::Lease;
    type Error = P::Error;
    type Reserving = P::Reserving;
    type Settling = P::Settling;

    fn reserve(&self, key: ReplayKey, remember: Duration) -> Self::Reserving {
        (**self).reserve(key, remember)
    }

    fn commit(&self, lease: Self::Lease, remember: Duration) -> Self::Settling {
        (**self).commit(lease, remember)
    }

    fn release(&self, lease: Self::Lease) -> Self::Settling {
        (**self).release(lease)
    }
}
