use std::{fs, path::PathBuf};

use portcullis::time::{ManualWallClock, UnixTime};

use super::{
    file::{connect, prepare},
    statements::{SWEEP, allow_injection, backlog, finish, push, state, sweep},
    *,
};
use crate::queue::{
    INJECTION_SPAN, INJECTIONS,
    suite::{Bench, TTL, id, new_job, result, suite},
};

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
    statements::claim(connection, now, Lane::Lookups, count)
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

#[tokio::test]
async fn what_is_accepted_is_flushed_to_a_log_ahead_of_the_file() {
    let shared = Shared::new();
    let pragmas = shared.gateways[0].run(|connection, _| {
        let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        let synchronous: u8 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        Ok((journal, synchronous))
    });
    assert_eq!(pragmas.await.unwrap(), ("wal".to_owned(), 2), "2 is FULL");
}

#[tokio::test]
async fn a_ping_is_written_ahead_of_the_file() {
    let shared = Shared::new();
    let log = || fs::metadata(format!("{}-wal", shared.file.display())).unwrap().len();
    let before = log();
    shared.gateways[0].ping().await.unwrap();
    let written = log() - before;
    assert!((1..=8192).contains(&written), "{written} bytes");
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
