//! The queue in SQLite, on a thread of its own.
//!
//! The thread takes what waits for it into one transaction, so that jobs that arrive together share one flush to disk. The
//! replies are sent once it is committed: with `synchronous=FULL`, that is when a power cut can no longer undo it.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use portcullis::time::WallClock;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, TransactionBehavior, named_params};
use tokio::sync::oneshot;

use super::{Held, Job, JobResult, LEASE, Lease, NewJob, QueueUrl, Reply, Store, TaskId, TaskState, Unavailable};
use crate::trace::TraceContext;

/// How long another process may hold the file before a command gives up. A command can wait for the one before it too, so
/// this is less than half of the 5 s within which a webhook is answered.
const BUSY: Duration = Duration::from_millis(1_500);
/// Commands that share one transaction at most.
const BATCH: usize = 512;
/// Rows that one sweep deletes at most, so that nobody waits long behind it.
const SWEEP: u32 = 10_000;

/// `due` is when a queued job may run, when a running one's lease ends, and when a finished one is deleted; all times are
/// milliseconds of the wall clock. `claim` counts up and fences; `runs` counts what `JOB_MAX_RUNS` limits.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS jobs (
        id TEXT PRIMARY KEY,
        state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done')),
        due INTEGER NOT NULL,
        accepted INTEGER NOT NULL,
        claim INTEGER NOT NULL DEFAULT 0,
        runs INTEGER NOT NULL DEFAULT 0,
        event TEXT NOT NULL,
        traceparent TEXT,
        tracestate TEXT,
        status INTEGER,
        result TEXT
    ) STRICT;
    CREATE INDEX IF NOT EXISTS jobs_due ON jobs (due) WHERE state != 'done';
    CREATE INDEX IF NOT EXISTS jobs_expiry ON jobs (due) WHERE state = 'done';
    PRAGMA user_version = 1;";

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
    pub(crate) fn open(url: &QueueUrl, ttl: Duration) -> Result<Self, String> {
        let connection = connect(url).map_err(|error| error.to_string())?;
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

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn connect(url: &QueueUrl) -> rusqlite::Result<Connection> {
    let mut connection = match url {
        QueueUrl::Memory => Connection::open_in_memory()?,
        QueueUrl::File(path) => {
            let flags =
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Connection::open_with_flags(path, flags)?
        }
    };
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Immediate, so that a file that cannot be written to is found out here.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.commit()?;
    Ok(connection)
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
    fn push(&self, job: NewJob) -> Reply<'_, ()> {
        self.run(move |connection, now| push(connection, now, &job))
    }

    fn claim(&self, count: u32) -> Reply<'_, Vec<Job>> {
        self.run(move |connection, now| claim(connection, now, count))
    }

    fn extend(&self, lease: &Lease) -> Reply<'_, Held> {
        let lease = lease.clone();
        self.run(move |connection, now| extend(connection, now, &lease))
    }

    fn finish(&self, lease: &Lease, result: JobResult) -> Reply<'_, Held> {
        let (lease, ttl) = (lease.clone(), self.ttl);
        self.run(move |connection, now| finish(connection, now, &lease, &result, ttl))
    }

    fn release(&self, lease: &Lease, delay: Duration) -> Reply<'_, Held> {
        let lease = lease.clone();
        self.run(move |connection, now| release(connection, now, &lease, delay))
    }

    fn state(&self, id: &TaskId) -> Reply<'_, TaskState> {
        let id = id.clone();
        self.run(move |connection, now| state(connection, now, &id))
    }

    fn ping(&self) -> Reply<'_, ()> {
        self.run(|_, _| Ok(()))
    }

    fn sweep(&self) -> Reply<'_, ()> {
        self.run(sweep)
    }
}

fn push(connection: &Connection, now: i64, job: &NewJob) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO jobs (id, state, due, accepted, event, traceparent, tracestate)
             VALUES (:id, 'queued', :now, :now, :event, :traceparent, :tracestate)",
        )?
        .execute(named_params! {
            ":id": job.id.as_str(), ":now": now, ":event": job.event,
            ":traceparent": job.trace.parent, ":tracestate": job.trace.state,
        })?;
    Ok(())
}

fn claim(connection: &Connection, now: i64, count: u32) -> rusqlite::Result<Vec<Job>> {
    let job = |row: &Row<'_>| {
        let accepted: i64 = row.get("accepted")?;
        Ok(Job {
            lease: Lease { id: TaskId(row.get("id")?), claim: row.get("claim")? },
            event: row.get("event")?,
            trace: TraceContext { parent: row.get("traceparent")?, state: row.get("tracestate")? },
            runs: row.get("runs")?,
            age: Duration::from_millis(u64::try_from(now - accepted).unwrap_or(0)),
        })
    };
    connection
        .prepare_cached(
            "UPDATE jobs SET state = 'running', claim = claim + 1, runs = runs + 1, due = :now + :lease
             WHERE id IN (SELECT id FROM jobs WHERE state != 'done' AND due <= :now ORDER BY due LIMIT :count)
             RETURNING id, claim, runs, accepted, event, traceparent, tracestate",
        )?
        .query_map(named_params! { ":now": now, ":lease": millis(LEASE), ":count": count }, job)?
        .collect()
}

/// Runs a statement under a lease: it changes one row, or none when the lease was lost.
fn under_lease(
    connection: &Connection,
    lease: &Lease,
    set: &str,
    values: &[(&str, &dyn rusqlite::ToSql)],
) -> rusqlite::Result<Held> {
    let sql = format!("UPDATE jobs SET {set} WHERE id = :id AND claim = :claim AND state = 'running'");
    let mut all: Vec<(&str, &dyn rusqlite::ToSql)> = vec![(":id", &lease.id.0), (":claim", &lease.claim)];
    all.extend_from_slice(values);
    Ok(connection.prepare_cached(&sql)?.execute(all.as_slice())? == 1)
}

fn extend(connection: &Connection, now: i64, lease: &Lease) -> rusqlite::Result<Held> {
    under_lease(connection, lease, "due = :due", &[(":due", &(now + millis(LEASE)))])
}

fn finish(
    connection: &Connection,
    now: i64,
    lease: &Lease,
    result: &JobResult,
    ttl: Duration,
) -> rusqlite::Result<Held> {
    // The webhook's body is not needed any more.
    let set = "state = 'done', due = :due, status = :status, result = :result, event = ''";
    let due = now.saturating_add(millis(ttl));
    under_lease(connection, lease, set, &[(":due", &due), (":status", &result.status), (":result", &result.body)])
}

fn release(connection: &Connection, now: i64, lease: &Lease, delay: Duration) -> rusqlite::Result<Held> {
    under_lease(connection, lease, "state = 'queued', due = :due, runs = runs - 1", &[(":due", &(now + millis(delay)))])
}

fn state(connection: &Connection, now: i64, id: &TaskId) -> rusqlite::Result<TaskState> {
    let known = connection
        .prepare_cached("SELECT status, result FROM jobs WHERE id = :id AND (state != 'done' OR due > :now)")?
        .query_row(named_params! { ":id": id.0, ":now": now }, |row| Ok((row.get("status")?, row.get("result")?)))
        .optional()?;
    Ok(match known {
        None => TaskState::Unknown,
        Some((Some(status), Some(body))) => TaskState::Finished(JobResult { status, body }),
        Some(_) => TaskState::Processing,
    })
}

fn sweep(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state = 'done' AND due <= :now ORDER BY due LIMIT :count)",
        )?
        .execute(named_params! { ":now": now, ":count": SWEEP })?;
    // No due time is further away than a lease, unless the wall clock was set back: nobody waits for that.
    connection
        .prepare_cached("UPDATE jobs SET due = :now WHERE state != 'done' AND due > :now + :lease")?
        .execute(named_params! { ":now": now, ":lease": millis(LEASE) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);
    const LEASE_MS: i64 = 12_000;

    fn database(jobs: u32) -> Connection {
        let connection = connect(&QueueUrl::Memory).unwrap();
        for n in 0..jobs {
            push(
                &connection,
                i64::from(n),
                &NewJob { id: id(n), event: format!("event {n}"), trace: TraceContext::default() },
            )
            .unwrap();
        }
        connection
    }

    fn id(n: u32) -> TaskId {
        TaskId(format!("{n:032x}"))
    }

    fn result(body: &str) -> JobResult {
        JobResult { status: 200, body: body.into() }
    }

    #[test]
    fn jobs_are_claimed_once_and_in_order() {
        let db = database(3);
        let events = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.event).collect::<Vec<_>>();
        assert_eq!(events(claim(&db, 10, 2).unwrap()), ["event 0", "event 1"]);
        assert_eq!(events(claim(&db, 10, 2).unwrap()), ["event 2"]);
        assert!(claim(&db, 10, 2).unwrap().is_empty());
    }

    #[test]
    fn a_lease_that_is_not_extended_ends_and_its_holder_can_write_nothing() {
        let db = database(1);
        let first = claim(&db, 0, 1).unwrap().remove(0);
        assert!(extend(&db, 5_000, &first.lease).unwrap());
        assert!(claim(&db, LEASE_MS, 1).unwrap().is_empty());

        let second = claim(&db, 5_000 + LEASE_MS, 1).unwrap().remove(0);
        assert_eq!((first.runs, second.runs), (1, 2));
        assert!(!extend(&db, 18_000, &first.lease).unwrap());
        assert!(!finish(&db, 18_000, &first.lease, &result("late"), TTL).unwrap());
        assert!(!release(&db, 18_000, &first.lease, Duration::ZERO).unwrap());
        assert!(finish(&db, 18_000, &second.lease, &result("good"), TTL).unwrap());
        assert_eq!(state(&db, 18_000, &id(0)).unwrap(), TaskState::Finished(result("good")));
    }

    #[test]
    fn a_job_that_was_put_back_waits_and_does_not_count_as_run() {
        let db = database(1);
        let job = claim(&db, 0, 1).unwrap().remove(0);
        assert!(release(&db, 0, &job.lease, Duration::from_secs(1)).unwrap());
        assert!(!release(&db, 0, &job.lease, Duration::ZERO).unwrap());
        assert_eq!(state(&db, 0, &id(0)).unwrap(), TaskState::Processing);
        assert!(claim(&db, 999, 1).unwrap().is_empty());
        let again = claim(&db, 1_000, 1).unwrap().remove(0);
        assert_eq!((again.runs, again.age), (1, Duration::from_secs(1)));
        // The old lease has another claim's number.
        assert!(!finish(&db, 1_000, &job.lease, &result("late"), TTL).unwrap());
    }

    #[test]
    fn results_expire() {
        let db = database(1);
        let job = claim(&db, 0, 1).unwrap().remove(0);
        finish(&db, 0, &job.lease, &result("r"), TTL).unwrap();
        sweep(&db, 59_999).unwrap();
        assert_eq!(state(&db, 59_999, &id(0)).unwrap(), TaskState::Finished(result("r")));
        assert_eq!(state(&db, 60_000, &id(0)).unwrap(), TaskState::Unknown);
        sweep(&db, 60_000).unwrap();
        assert_eq!(db.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    }

    #[test]
    fn a_wall_clock_that_was_set_back_strands_no_job() {
        let db = connect(&QueueUrl::Memory).unwrap();
        push(&db, 3_600_000, &NewJob { id: id(0), event: String::new(), trace: TraceContext::default() }).unwrap();
        assert!(claim(&db, 0, 1).unwrap().is_empty());
        sweep(&db, 0).unwrap();
        assert_eq!(claim(&db, 0, 1).unwrap().len(), 1);
    }

    #[test]
    fn commands_that_wait_together_share_one_commit_or_none() {
        let mut db = database(0);
        let (commands, waiting) = channel::<Command>();
        let (told, results) = channel();
        for n in 0..3 {
            let told = told.clone();
            commands
                .send(Box::new(move |connection| {
                    push(
                        connection,
                        0,
                        &NewJob { id: id(n / 2), event: String::new(), trace: TraceContext::default() },
                    )?;
                    Ok(Box::new(move || told.send(n).unwrap()))
                }))
                .unwrap();
        }
        // The second has the id of the first, which fails all three.
        let first = waiting.recv().unwrap();
        assert!(batch(&mut db, first, &waiting).is_err());
        assert!(results.try_recv().is_err());
        assert_eq!(state(&db, 0, &id(0)).unwrap(), TaskState::Unknown);
    }
}
