//! A queue that takes no writes for a while.

use rusqlite::Connection;

use super::Setup;

/// Keeps all gateways from committing anything, until it is released.
pub(crate) enum Hold {
    Sqlite(Connection),
    Redis(redis::Connection),
}

impl Hold {
    /// Takes hold of the queue of these gateways.
    pub(crate) fn of(setup: &Setup) -> Self {
        let queue = setup.setting("QUEUE_URL");
        if let Some(file) = queue.strip_prefix("sqlite://") {
            let lock = Connection::open(file).expect("the queue's file");
            lock.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes for long");
            return Self::Sqlite(lock);
        }
        let mut redis =
            redis::Client::open(queue).and_then(|client| client.get_connection()).expect("the queue's Redis");
        // A client that goes while its command waits takes it along.
        redis::cmd("CLIENT").arg(&["PAUSE", "60000", "WRITE"]).exec(&mut redis).expect("Redis can wait");
        Self::Redis(redis)
    }

    pub(crate) fn release(self) {
        match self {
            Self::Sqlite(lock) => lock.execute_batch("COMMIT").expect("the lock is still held"),
            Self::Redis(mut redis) => redis::cmd("CLIENT").arg("UNPAUSE").exec(&mut redis).expect("Redis goes on"),
        }
    }
}
