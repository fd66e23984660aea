//! The queue in SQLite, on a thread of its own.
//!
//! The thread takes what waits for it into one transaction, so that jobs that arrive together share one flush to disk. The
//! replies are sent once it is committed: with `synchronous=FULL`, that is when a power cut can no longer undo it.

use std::{
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use portcullis::time::WallClock;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, named_params};
use tokio::sync::oneshot;

use super::{
    Backlog, Held, INJECTION_SPAN, INJECTIONS, Job, JobResult, LEASE, Lane, Lease, More, NewJob, Reply, Store, TaskId,
    TaskState, Unavailable,
};
use crate::trace::TraceContext;

/// How long another process may hold the file before a command gives up. A command can wait for the one before it too, so
/// this is less than half of the 5 s within which a webhook is answered.
const BUSY: Duration = Duration::from_millis(1_500);
/// Commands that share one transaction at most.
const BATCH: usize = 512;
/// Rows that one sweep deletes at most, so that nobody waits long behind it.
const SWEEP: u32 = 10_000;

/// `due` is when a queued job may run, when a running one's lease ends, and when a finished one is deleted; all times are
/// milliseconds of the wall clock. `claim` counts up and fences; `runs` counts what `JOB_MAX_RUNS` limits. `injected` holds
/// when the latest requests were sent to Cognigy.
const SCHEMA: &str = "
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        lane TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done')),
        due INTEGER NOT NULL,
        accepted INTEGER NOT NULL,
        claim INTEGER NOT NULL DEFAULT 0,
        runs INTEGER NOT NULL DEFAULT 0,
        payload TEXT NOT NULL,
        traceparent TEXT,
        tracestate TEXT,
        status INTEGER,
        result TEXT
    ) STRICT;
    CREATE INDEX jobs_due ON jobs (lane, due) WHERE state != 'done';
    CREATE INDEX jobs_expiry ON jobs (due) WHERE state = 'done';
    CREATE TABLE injected (at INTEGER NOT NULL) STRICT;
    CREATE INDEX injected_at ON injected (at);
    PRAGMA user_version = 2;";

/// From version 1, which had one lane.
const UPGRADE: &str = "
    ALTER TABLE jobs RENAME COLUMN event TO payload;
    ALTER TABLE jobs ADD COLUMN lane TEXT NOT NULL DEFAULT 'lookups';
    DROP INDEX jobs_due;
    CREATE INDEX jobs_due ON jobs (lane, due) WHERE state != 'done';
    CREATE TABLE injected (at INTEGER NOT NULL) STRICT;
    CREATE INDEX injected_at ON injected (at);
    PRAGMA user_version = 2;";

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

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn connect(file: &Path) -> Result<Connection, String> {
    let mut connection = open(file).map_err(|error| error.to_string())?;
    prepare(&mut connection)
        .map_err(|error| error.to_string())?
        .map_or(Ok(connection), |version| Err(format!("its version {version} is that of a newer gateway")))
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY)?;
    write_ahead(&connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Writes to a log ahead of the file. SQLite does not wait for another process that does the same to a new file, but says
/// at once that it is busy; it does wait before a transaction.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if tries < 10 && error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => tries += 1,
            done => return done,
        }
        connection.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
    }
}

/// Makes the tables, or brings them up to date; gives a version that cannot be read here.
fn prepare(connection: &mut Connection) -> rusqlite::Result<Option<u32>> {
    // Immediate, so that a file that cannot be written to is found out here.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match transaction.query_row("PRAGMA user_version", [], |row| row.get(0))? {
        0 => transaction.execute_batch(SCHEMA)?,
        1 => transaction.execute_batch(UPGRADE)?,
        2 => {}
        newer => return Ok(Some(newer)),
    }
    transaction.commit()?;
    Ok(None)
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
        self.run(move |connection, now| push(connection, now, &job))
    }

    fn claim(&self, lane: Lane, count: u32) -> Reply<'_, Vec<Job>> {
        self.run(move |connection, now| claim(connection, now, lane, count))
    }

    fn extend(&self, lease: &Lease) -> Reply<'_, Held> {
        let lease = lease.clone();
        self.run(move |connection, now| extend(connection, now, &lease))
    }

    fn finish(&self, lease: &Lease, result: JobResult, then: Option<NewJob>) -> Reply<'_, Held> {
        let (lease, ttl) = (lease.clone(), self.ttl);
        self.run(move |connection, now| finish(connection, now, &lease, &result, ttl, then.as_ref()))
    }

    fn discard(&self, lease: &Lease) -> Reply<'_, Held> {
        let lease = lease.clone();
        self.run(move |connection, _| discard(connection, &lease))
    }

    fn release(&self, lease: &Lease, delay: Duration) -> Reply<'_, Held> {
        let lease = lease.clone();
        self.run(move |connection, now| release(connection, now, &lease, delay))
    }

    fn state(&self, id: &TaskId) -> Reply<'_, TaskState> {
        let id = id.clone();
        self.run(move |connection, now| state(connection, now, &id))
    }

    fn backlog(&self, lane: Lane) -> Reply<'_, Backlog> {
        self.run(move |connection, now| backlog(connection, now, lane))
    }

    fn ping(&self) -> Reply<'_, ()> {
        self.run(|_, _| Ok(()))
    }

    fn sweep(&self) -> Reply<'_, More> {
        self.run(sweep)
    }

    fn allow_injection(&self) -> Reply<'_, Option<Duration>> {
        self.run(allow_injection)
    }
}

fn push(connection: &Connection, now: i64, job: &NewJob) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO jobs (id, lane, state, due, accepted, payload, traceparent, tracestate)
             VALUES (:id, :lane, 'queued', :now, :now, :payload, :traceparent, :tracestate)",
        )?
        .execute(named_params! {
            ":id": job.id.as_str(), ":lane": job.lane.as_str(), ":now": now, ":payload": job.payload,
            ":traceparent": job.trace.parent, ":tracestate": job.trace.state,
        })?;
    Ok(())
}

fn claim(connection: &Connection, now: i64, lane: Lane, count: u32) -> rusqlite::Result<Vec<Job>> {
    let job = |row: &Row<'_>| {
        let accepted: i64 = row.get("accepted")?;
        Ok(Job {
            lease: Lease { id: TaskId(row.get("id")?), lane, entry: String::new(), claim: row.get("claim")? },
            payload: row.get("payload")?,
            trace: TraceContext { parent: row.get("traceparent")?, state: row.get("tracestate")? },
            runs: row.get("runs")?,
            age: Duration::from_millis(u64::try_from(now - accepted).unwrap_or(0)),
        })
    };
    connection
        .prepare_cached(
            "UPDATE jobs SET state = 'running', claim = claim + 1, runs = runs + 1, due = :now + :lease
             WHERE id IN (
                 SELECT id FROM jobs WHERE state != 'done' AND lane = :lane AND due <= :now ORDER BY due LIMIT :count)
             RETURNING id, claim, runs, accepted, payload, traceparent, tracestate",
        )?
        .query_map(
            named_params! { ":lane": lane.as_str(), ":now": now, ":lease": millis(LEASE), ":count": count },
            job,
        )?
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
    then: Option<&NewJob>,
) -> rusqlite::Result<Held> {
    // The webhook's body is not needed any more.
    let set = "state = 'done', due = :due, status = :status, result = :result, payload = ''";
    let due = now.saturating_add(millis(ttl));
    let values: [(&str, &dyn rusqlite::ToSql); 3] =
        [(":due", &due), (":status", &result.status), (":result", &result.body)];
    let held = under_lease(connection, lease, set, &values)?;
    if let Some(then) = then.filter(|_| held) {
        push(connection, now, then)?;
    }
    Ok(held)
}

fn discard(connection: &Connection, lease: &Lease) -> rusqlite::Result<Held> {
    connection
        .prepare_cached("DELETE FROM jobs WHERE id = :id AND claim = :claim AND state = 'running'")?
        .execute(named_params! { ":id": lease.id.0, ":claim": lease.claim })
        .map(|deleted| deleted == 1)
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

/// A walk over the index: 6 ms for 100,000 jobs.
fn backlog(connection: &Connection, now: i64, lane: Lane) -> rusqlite::Result<Backlog> {
    connection
        .prepare_cached("SELECT count(*) AS jobs, min(due) AS first FROM jobs WHERE state != 'done' AND lane = :lane")?
        .query_row(named_params! { ":lane": lane.as_str() }, |row| {
            let first = row.get::<_, Option<i64>>("first")?.unwrap_or(now);
            let waited = Duration::from_millis(u64::try_from(now.saturating_sub(first)).unwrap_or(0));
            Ok(Backlog { jobs: u64::try_from(row.get::<_, i64>("jobs")?).unwrap_or(0), waited })
        })
}

fn sweep(connection: &Connection, now: i64) -> rusqlite::Result<More> {
    let deleted = connection
        .prepare_cached(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state = 'done' AND due <= :now ORDER BY due LIMIT :count)",
        )?
        .execute(named_params! { ":now": now, ":count": SWEEP })?;
    // No due time is further away than a lease, unless the wall clock was set back: nobody waits for that.
    connection
        .prepare_cached("UPDATE jobs SET due = :now WHERE state != 'done' AND due > :now + :lease")?
        .execute(named_params! { ":now": now, ":lease": millis(LEASE) })?;
    Ok(deleted == SWEEP as usize)
}

fn allow_injection(connection: &Connection, now: i64) -> rusqlite::Result<Option<Duration>> {
    let span = millis(INJECTION_SPAN);
    connection
        .prepare_cached("DELETE FROM injected WHERE at <= :end")?
        .execute(named_params! { ":end": now - span })?;
    // A wall clock that was set back would keep its places for longer than the span.
    connection
        .prepare_cached("UPDATE injected SET at = :now WHERE at > :now")?
        .execute(named_params! { ":now": now })?;
    let (sent, first): (u32, Option<i64>) = connection
        .prepare_cached("SELECT count(*), min(at) FROM injected")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if let Some(first) = first.filter(|_| sent >= INJECTIONS) {
        return Ok(Some(Duration::from_millis(u64::try_from(first + span - now).unwrap_or(0))));
    }
    connection.prepare_cached("INSERT INTO injected VALUES (:now)")?.execute(named_params! { ":now": now })?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use portcullis::time::{ManualWallClock, UnixTime};

    use super::*;
    use crate::queue::suite::{Bench, TTL, id, new_job, result, suite};

    /// One file, and two gateways.
    struct Shared {
        clock: ManualWallClock,
        file: PathBuf,
        gateways: [Sqlite; 2],
    }

    impl Shared {
        fn new() -> Self {
            let file = file();
            let clock = ManualWallClock::new(UnixTime::from_secs(0));
            let open = || Sqlite { clock: clock.clock(), ..Sqlite::open(&file, TTL).unwrap() };
            Self { gateways: [open(), open()], clock, file }
        }
    }

    impl Drop for Shared {
        fn drop(&mut self) {
            for end in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(format!("{}{end}", self.file.display()));
            }
        }
    }

    impl Bench for Shared {
        fn gateways(&self) -> [&dyn Store; 2] {
            [&self.gateways[0], &self.gateways[1]]
        }

        fn pass(&self, span: Duration) {
            self.clock.set(UnixTime::new(self.clock.now().since_epoch() + span));
        }
    }

    suite!(
        #[cfg(test)]
        Shared::new()
    );

    fn file() -> PathBuf {
        std::env::temp_dir().join(format!("portcullis-{}.db", TaskId::random()))
    }

    fn database(jobs: u32) -> Connection {
        let connection = connect(Path::new(":memory:")).unwrap();
        for n in 0..jobs {
            push(&connection, i64::from(n), &new_job(n)).unwrap();
        }
        connection
    }

    fn claim(connection: &Connection, now: i64, count: u32) -> rusqlite::Result<Vec<Job>> {
        super::claim(connection, now, Lane::Lookups, count)
    }

    #[test]
    fn injections_wait_no_longer_than_the_span_when_the_clock_is_set_back() {
        let db = database(0);
        for _ in 0..INJECTIONS {
            assert_eq!(allow_injection(&db, 3_600_000).unwrap(), None);
        }
        assert_eq!(allow_injection(&db, 0).unwrap(), Some(INJECTION_SPAN));
    }

    #[test]
    fn results_that_have_expired_are_deleted() {
        let db = database(1);
        let job = claim(&db, 0, 1).unwrap().remove(0);
        finish(&db, 0, &job.lease, &result("r"), TTL, None).unwrap();
        let rows = || db.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0)).unwrap();
        sweep(&db, 59_999).unwrap();
        assert_eq!(rows(), 1);
        assert!(!sweep(&db, 60_000).unwrap());
        assert_eq!(rows(), 0);
    }

    #[test]
    fn a_sweep_that_leaves_results_says_so() {
        let db = database(SWEEP + 1);
        db.execute_batch("UPDATE jobs SET state = 'done', due = 0").unwrap();
        let rows = || db.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0)).unwrap();
        assert!(sweep(&db, 0).unwrap());
        assert_eq!(rows(), 1);
        assert!(!sweep(&db, 0).unwrap());
        assert_eq!(rows(), 0);
    }

    #[test]
    fn many_may_open_a_new_file_at_once() {
        for _ in 0..20 {
            let file = file();
            thread::scope(|scope| {
                let all: Vec<_> = (0..8).map(|_| scope.spawn(|| connect(&file).map(drop))).collect();
                for opened in all {
                    assert_eq!(opened.join().unwrap(), Ok(()));
                }
            });
            fs::remove_file(file).unwrap();
        }
    }

    #[test]
    fn a_queue_of_the_first_version_keeps_its_jobs() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE jobs (
                id TEXT PRIMARY KEY, state TEXT NOT NULL, due INTEGER NOT NULL, accepted INTEGER NOT NULL,
                claim INTEGER NOT NULL DEFAULT 0, runs INTEGER NOT NULL DEFAULT 0, event TEXT NOT NULL,
                traceparent TEXT, tracestate TEXT, status INTEGER, result TEXT) STRICT;
             CREATE INDEX jobs_due ON jobs (due) WHERE state != 'done';
             CREATE INDEX jobs_expiry ON jobs (due) WHERE state = 'done';
             INSERT INTO jobs (id, state, due, accepted, event) VALUES ('a', 'queued', 0, 0, 'old');
             PRAGMA user_version = 1;",
        )
        .unwrap();
        assert_eq!(prepare(&mut db).unwrap(), None);
        assert_eq!(claim(&db, 0, 9).unwrap().remove(0).payload, "old");
        push(&db, 0, &new_job(1)).unwrap();
        assert_eq!(prepare(&mut db).unwrap(), None);
        assert_eq!(claim(&db, 0, 9).unwrap().remove(0).payload, "event 1");
    }

    #[test]
    fn a_queue_of_a_later_version_is_left_alone() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch("PRAGMA user_version = 3").unwrap();
        assert_eq!(prepare(&mut db).unwrap(), Some(3));
    }

    #[test]
    fn a_wall_clock_that_was_set_back_strands_no_job() {
        let db = connect(Path::new(":memory:")).unwrap();
        push(&db, 3_600_000, &new_job(0)).unwrap();
        assert!(claim(&db, 0, 1).unwrap().is_empty());
        sweep(&db, 0).unwrap();
        assert_eq!(claim(&db, 0, 1).unwrap().len(), 1);
    }

    #[test]
    fn what_was_never_claimed_is_due_since_it_was_queued() {
        let waited = backlog(&database(3), 5_000, Lane::Lookups).unwrap();
        assert_eq!(waited, Backlog { jobs: 3, waited: Duration::from_secs(5) });
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
                    push(connection, 0, &new_job(n / 2))?;
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
