//! The durable queue: jobs under leases, and the results of finished ones.
//!
//! A claim takes a job under a lease that ends by itself, so a job whose gateway dies is claimed again. Each claim has a
//! number of its own, and every later write names it: whoever lost a lease meanwhile can change nothing any more. What a
//! store has to keep is the trait [`Store`]; everything else here is the same for all of them.

mod redis;
mod sqlite;
#[cfg(test)]
mod suite;

use std::{fmt, future::Future, path::PathBuf, pin::Pin, str::FromStr, sync::Arc, time::Duration};

use http::HeaderValue;
use tokio::sync::Notify;

use self::{
    redis::{Redis, RedisUrl},
    sqlite::Sqlite,
};
use crate::trace::TraceContext;

/// How long a claim holds unless it is extended: a job whose gateway died is run again after this.
pub(crate) const LEASE: Duration = Duration::from_secs(12);

/// What Cognigy's shared service takes: more requests than this within the span are refused.
pub(crate) const INJECTIONS: u32 = 1_000;
pub(crate) const INJECTION_SPAN: Duration = Duration::from_secs(300);

/// The queue as the rest of the gateway sees it.
#[derive(Clone)]
pub(crate) struct Queue {
    store: Arc<dyn Store>,
    arrived: Arc<[Notify; 2]>,
}

/// What a job is for. Each lane is a queue of its own, so that no lane waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Asking the downstream what a webhook wants to know.
    Lookups,
    /// Telling Cognigy the result.
    Injections,
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::Lookups, Self::Injections];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Lookups => "lookups",
            Self::Injections => "injections",
        }
    }
}

/// A job that is not queued yet.
#[derive(Clone, Debug)]
pub(crate) struct NewJob {
    pub(crate) id: TaskId,
    pub(crate) lane: Lane,
    /// JSON: the webhook's body, or what is to be injected.
    pub(crate) payload: String,
    pub(crate) trace: TraceContext,
}

/// A job that this gateway runs.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) lease: Lease,
    pub(crate) payload: String,
    pub(crate) trace: TraceContext,
    /// How often it was begun, this run included. A run that was broken off in good order is not counted.
    pub(crate) runs: u32,
    /// How long ago it was accepted.
    pub(crate) age: Duration,
}

/// The right to write to a job: its id, and the number of the claim.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) id: TaskId,
    lane: Lane,
    /// Which entry of the lane's stream it is, in Redis.
    entry: String,
    claim: i64,
}

/// What the status route answers for a finished job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobResult {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// What is known of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    Unknown,
    Processing,
    Finished(JobResult),
}

/// How much there is left to do in a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Jobs that have not ended: those that run, wait to be run, or were put back for a while.
    pub(crate) jobs: u64,
    /// How long the job that has waited longest for a free place could have run; zero where none waits.
    pub(crate) waited: Duration,
}

/// The queue cannot be reached, or cannot be written to.
#[derive(Debug)]
pub(crate) struct Unavailable;

/// Whether a write under a lease was accepted: not when the lease was lost.
pub(crate) type Held = bool;

/// Whether there may be more to do.
pub(crate) type More = bool;

pub(crate) type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>;

/// What a backend does. All times are its own: gateways that share it share its clock.
pub(crate) trait Store: Send + Sync {
    /// Its name, for `/health`.
    fn backend(&self) -> &'static str;
    /// Stores a job; it is durable once this resolves.
    fn push(&self, job: NewJob) -> Reply<'_, ()>;
    /// Claims up to `count` jobs of a lane that are due: queued ones, and those whose lease has ended.
    fn claim(&self, lane: Lane, count: u32) -> Reply<'_, Vec<Job>>;
    /// Lets a lease end [`LEASE`] from now.
    fn extend(&self, lease: &Lease) -> Reply<'_, Held>;
    /// Ends a job; its result is kept for a while. What follows from it is queued in the same step.
    fn finish(&self, lease: &Lease, result: JobResult, then: Option<NewJob>) -> Reply<'_, Held>;
    /// Ends a job that leaves no result.
    fn discard(&self, lease: &Lease) -> Reply<'_, Held>;
    /// Puts a job back, due after `delay`; the run is not counted.
    fn release(&self, lease: &Lease, delay: Duration) -> Reply<'_, Held>;
    /// What is known of a task.
    fn state(&self, id: &TaskId) -> Reply<'_, TaskState>;
    /// How much there is left to do, of all gateways.
    fn backlog(&self, lane: Lane) -> Reply<'_, Backlog>;
    /// Whether jobs could be stored.
    fn ping(&self) -> Reply<'_, ()>;
    /// Deletes results that have expired, or as many of them as may be without making others wait: then there may be more.
    fn sweep(&self) -> Reply<'_, More>;
    /// Takes one of the [`INJECTIONS`] requests that all gateways together may send to Cognigy within [`INJECTION_SPAN`]; where
    /// none is left, says how long until one is.
    fn allow_injection(&self) -> Reply<'_, Option<Duration>>;
}

impl Queue {
    /// Opens the queue, or says why it cannot be used. Redis is waited for instead.
    pub(crate) fn open(url: &QueueUrl, ttl: Duration) -> Result<Self, String> {
        let store: Arc<dyn Store> = match url {
            QueueUrl::Sqlite(file) => Arc::new(Sqlite::open(file, ttl)?),
            QueueUrl::Redis(url) => Arc::new(Redis::new(url, ttl)?),
        };
        Ok(Self { store, arrived: Arc::default() })
    }

    /// Stores a job, and wakes its worker.
    pub(crate) async fn push(&self, job: NewJob) -> Result<(), Unavailable> {
        let lane = job.lane;
        self.store.push(job).await?;
        self.arrival(lane).notify_one();
        Ok(())
    }

    /// Ends a job, and wakes the worker of what follows from it.
    pub(crate) async fn finish(
        &self,
        lease: &Lease,
        result: JobResult,
        then: Option<NewJob>,
    ) -> Result<Held, Unavailable> {
        let lane = then.as_ref().map(|job| job.lane);
        let held = self.store.finish(lease, result, then).await?;
        if let Some(lane) = lane {
            self.arrival(lane).notify_one();
        }
        Ok(held)
    }

    /// Resolves when this gateway has stored a job of this lane.
    pub(crate) async fn arrived(&self, lane: Lane) {
        self.arrival(lane).notified().await;
    }

    fn arrival(&self, lane: Lane) -> &Notify {
        &self.arrived[lane as usize]
    }
}

impl std::ops::Deref for Queue {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        self.store.as_ref()
    }
}

/// 128 random bits: who was not told a task's id cannot guess it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskId(String);

impl TaskId {
    pub(crate) fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Without a copy.
impl From<TaskId> for HeaderValue {
    fn from(TaskId(id): TaskId) -> Self {
        Self::try_from(id).expect("hexadecimal digits can be a header")
    }
}

impl FromStr for TaskId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() == 32 && text.bytes().all(hex) { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the queue lives.
#[derive(Clone, Debug)]
pub(crate) enum QueueUrl {
    /// A file, or `:memory:`.
    Sqlite(PathBuf),
    Redis(RedisUrl),
}

impl FromStr for QueueUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("sqlite", file)) if !file.is_empty() => Ok(Self::Sqlite(file.into())),
            Some(("redis", _)) => text.parse().map(Self::Redis),
            Some(("rediss", _)) => Err("TLS to Redis is not built in: redis://…".into()),
            _ if text == "sqlite::memory:" => Ok(Self::Sqlite(":memory:".into())),
            _ => Err("a queue is sqlite://FILE, sqlite::memory: or redis://…".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ids_are_read_as_they_are_written() {
        let id = TaskId::random();
        assert_eq!(id.as_str().parse(), Ok(id));
        for text in ["", "0123", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdeg"] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_queue_is_a_file_or_memory_or_a_redis() {
        let read = |text: &str| text.parse::<QueueUrl>().map(|url| format!("{url:?}"));
        let sqlite = |file: &str| Ok(format!("Sqlite({file:?})"));
        assert_eq!(read("sqlite://a/b.db"), sqlite("a/b.db"));
        assert_eq!(read("sqlite:///var/b.db"), sqlite("/var/b.db"));
        assert_eq!(read("sqlite::memory:"), sqlite(":memory:"));
        assert_eq!(read("redis://localhost"), Ok("Redis(redis://localhost:6379)".into()));
        assert_eq!(read("redis://user:pa55@host:7000/3"), Ok("Redis(redis://host:7000)".into()));
        for text in
            ["", "sqlite://", "sqlite:a.db", "a.db", "redis://", "redis:localhost", "redis://h:x", "postgres://x"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_url_of_a_redis_does_not_say_its_password() {
        for text in ["rediss://:pa55@host", "redis://:pa55@host:port", "redis://:pa55@host/database", "redis://pa55@@/"]
        {
            let error = text.parse::<QueueUrl>().unwrap_err();
            assert!(!error.contains("pa55"), "{error}");
        }
    }
}
