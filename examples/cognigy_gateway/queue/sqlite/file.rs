//! The database file: its tables, and how it is opened.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// How long another process may hold the file before a command gives up. A command can wait for the one before it too, so
/// this is less than half of the 5 s within which a webhook is answered.
const BUSY: Duration = Duration::from_millis(1_500);

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

pub(super) fn connect(file: &Path) -> Result<Connection, String> {
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
pub(super) fn prepare(connection: &mut Connection) -> rusqlite::Result<Option<u32>> {
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
