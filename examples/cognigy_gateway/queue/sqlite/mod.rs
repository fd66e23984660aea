//! The queue in SQLite, on a thread of its own.
//!
//! The thread takes what waits for it into one transaction, so that jobs that arrive together share one flush to disk. The
//! replies are sent once it is committed: with `synchronous=FULL`, that is when a power cut can no longer undo it.

mod file;
mod statements;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use portcullis::time::WallClock;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use self::{file::connect, statements::millis};
use super::{Backlog, Held, Job, JobResult, Lane, Lease, More, NewJob, Reply, Store, TaskId, TaskState, Unavailable};

/// Commands that share one transaction at most.
const BATCH: usize = 512;

/// A command: run inside the transaction, it leaves what tells its caller once that is committed.
type Command = Box<dyn FnOnce(&Connection) -> rusqlite::Result<Committed> + Send>;
type Committed = Box<dyn FnOnce()>;

/// The handle to the thread.
pub(crate) struct Sqlite {
    commands: Sender<Command>,
    clock: WallClock,
    ttl: Duration,
}

impl Sqlite {
    /// Opens the database, or says why it cannot be used.
    pub(crate) fn open(file: &Path, ttl: Duration) -> Result<Self, String> {
        let connection = connect(file)?;
        let (commands, waiting) = channel();
        thread::Builder::new()
            .name("queue".into())
            .spawn(move || serve(connection, &waiting))
            .map_err(|error| error.to_string())?;
        Ok(Self { commands, clock: WallClock::system(), ttl })
    }

    /// Runs `command` on the thread, with the time.
    fn run<T: Send + 'static>(
        &self,
        command: impl FnOnce(&Connection, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Reply<'static, T> {
        let (reply, result) = oneshot::channel();
        let clock = self.clock.clone();
        // A reply that is dropped unsent says that nothing was committed.
        let sent = self.commands.send(Box::new(move |connection| {
            if reply.is_closed() {
                return Ok(Box::new(|| ()));
            }
            let now = millis(clock.now().since_epoch());
            command(connection, now).map(|value| -> Committed { Box::new(move || drop(reply.send(value))) })
        }));
        Box::pin(async move {
            sent.map_err(|_| Unavailable)?;
            result.await.map_err(|_| Unavailable)
        })
    }
}

/// The thread: it ends when the last handle is gone.
fn serve(mut connection: Connection, waiting: &Receiver<Command>) {
    while let Ok(first) = waiting.recv() {
        if let Err(error) = batch(&mut connection, first, waiting) {
            tracing::warn!(%error, "the queue's database is not available");
            // Who waited meanwhile would only wait as long again.
            while waiting.try_recv().is_ok() {}
        }
    }
}

/// Commits `first` and all that wait behind it, or nothing.
fn batch(connection: &mut Connection, first: Command, waiting: &Receiver<Command>) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut committed = vec![first(&transaction)?];
    while committed.len() < BATCH
        && let Ok(command) = waiting.try_recv()
    {
        committed.push(command(&transaction)?);
    }
    transaction.commit()?;
    for tell in committed {
        tell();
    }
    Ok(())
}

impl Store for Sqlite {
    fn backend(&self) -> &'static str {
        "sqlite"
    }

    fn push(&self, job: NewJob) -> Reply<'_, ()> {
        self.run(move |connection, now| statements::push(connection, now, &job))
    }

    fn claim(&self, lane: Lane, count: u32) -> Reply<'_, Vec<Job>> {
        self.run(move |connection, now| statements::claim(connection, now, lane, count))
    }

    fn extend(&self, lease: &Lease) -> Reply<'_, Held> {
        let lease = lease.clone();
        self.run(move |connection, now| statements::extend(connection, now, &lease))
    }

    fn finish(&self, lease: &Lease, result: JobResult, then: Option<NewJob>) -> Reply<'_, Held> {
        let (lease, ttl) = (lease.clone(), self.ttl);
        self.run(move |connection, now| statements::finish(connection, now, &lease, &result, ttl, then.as_ref()))
    }

    fn discard(&self, lease: &Lease) -> Reply<'_, Held> {
        let lease = lease.clone();
        self.run(move |connection, _| statements::discard(connection, &lease))
    }

    fn release(&self, lease: &Lease, delay: Duration) -> Reply<'_, Held> {
        let lease = lease.clone();
        self.run(move |connection, now| statements::release(connection, now, &lease, delay))
    }

    fn state(&self, id: &TaskId) -> Reply<'_, TaskState> {
        let id = id.clone();
        self.run(move |connection, now| statements::state(connection, now, &id))
    }

    fn backlog(&self, lane: Lane) -> Reply<'_, Backlog> {
        self.run(move |connection, now| statements::backlog(connection, now, lane))
    }

    fn ping(&self) -> Reply<'_, ()> {
        // A write, since a disk that is full lets a transaction begin and end as well.
        self.run(|connection, _| statements::ping(connection))
    }

    fn sweep(&self) -> Reply<'_, More> {
        self.run(statements::sweep)
    }

    fn allow_injection(&self) -> Reply<'_, Option<Duration>> {
        self.run(statements::allow_injection)
    }
}
