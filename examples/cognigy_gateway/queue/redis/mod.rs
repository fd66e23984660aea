//! The queue in Redis, for any number of gateways.
//!
//! A lane is a stream with one consumer group, so that Redis itself hands each entry to one gateway, knows since when that
//! one has it, and counts how often it was handed out. An entry names a task; all that is known of the task is a hash. Jobs
//! that wait are in a sorted set beside the stream. Commands that may only be done together are one transaction, and where
//! a write depends on what was read, one short script. All times are of Redis's clock.

mod link;
mod scripts;
#[cfg(test)]
mod tests;
mod url;

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use redis::{RedisResult, Script, ScriptInvocation, aio::MultiplexedConnection, cmd, pipe};

pub(crate) use self::url::RedisUrl;
use self::{
    link::Link,
    scripts::{BACKLOG, DISCARD, DUE, EXTEND, FINISH, FORGET, RELEASE, TAKE},
};
use super::{
    Backlog, Held, INJECTION_SPAN, INJECTIONS, Job, JobResult, LEASE, Lane, Lease, More, NewJob, Reply, Store, TaskId,
    TaskState,
};
use crate::trace::TraceContext;

/// How often each gateway looks for leases that have ended; and how long it gives the others to extend theirs after Redis
/// was away.
const LOOK: Duration = Duration::from_secs(2);
/// Bodies that are fetched with one command, so that a slow network brings them in time.
const FETCH: usize = 16;
/// Redis adds the time of day to it.
const LONGEST_TTL: u64 = 1 << 62;

/// The handle to Redis.
pub(crate) struct Redis {
    link: Link,
    /// The name of this process among the consumers.
    consumer: String,
    ttl: Duration,
    look: Duration,
    /// When this gateway last looked for leases that have ended, in each lane, and how many outages there had been by then.
    looked: [(AtomicU64, AtomicU64); 2],
}

impl Redis {
    /// Connects once it is used.
    pub(crate) fn new(url: &RedisUrl, ttl: Duration) -> Result<Self, String> {
        let consumer = format!("{:016x}", rand::random::<u64>());
        Ok(Self { link: Link::new(url)?, consumer, ttl, look: LOOK, looked: Default::default() })
    }

    async fn claim_from(&self, redis: &mut MultiplexedConnection, lane: Lane, count: usize) -> RedisResult<Vec<Job>> {
        let now = DUE.key(stream(lane)).key(waiting(lane)).arg(count).invoke_async(redis).await?;
        let mut leases = if self.looks(lane, now) { self.overdue(redis, lane, count).await? } else { Vec::new() };
        if leases.len() < count {
            leases.extend(self.fresh(redis, lane, count - leases.len()).await?);
        }
        let mut jobs = Vec::with_capacity(leases.len());
        for leases in leases.chunks(FETCH) {
            let mut fetch = pipe();
            for lease in leases {
                fetch.cmd("HMGET").arg(task(&lease.id));
                fetch.arg(&["payload", "traceparent", "tracestate", "accepted", "runs"]);
            }
            let found: Vec<Found> = fetch.query_async(redis).await?;
            for (lease, found) in leases.iter().zip(found) {
                match job(lease, found, now) {
                    Some(job) => jobs.push(job),
                    None => {
                        tracing::error!(task_id = %lease.id, "Redis has lost what the job is for: there is no such job");
                        let _: Held = self.under(&DISCARD, lease).invoke_async(redis).await?;
                    }
                }
            }
        }
        Ok(jobs)
    }

    /// Whether it is time to look for leases that have ended. After an outage it is not: gateways that could not extend
    /// theirs do so first.
    fn looks(&self, lane: Lane, now: u64) -> bool {
        let ((looked, known), outages) = (&self.looked[lane as usize], self.link.outages());
        let was_away = known.swap(outages, Ordering::Relaxed) != outages;
        let due = u128::from(now.abs_diff(looked.load(Ordering::Relaxed))) >= self.look.as_millis();
        if was_away || due {
            looked.store(now, Ordering::Relaxed);
        }
        due && !was_away
    }

    /// Claims jobs whose lease has ended. `XAUTOCLAIM` does not say how often they were handed out, which fences.
    async fn overdue(&self, redis: &mut MultiplexedConnection, lane: Lane, count: usize) -> RedisResult<Vec<Lease>> {
        let idle = millis(LEASE);
        let mut pending = cmd("XPENDING");
        pending.arg(stream(lane)).arg(GROUP).arg("IDLE").arg(idle).arg("-").arg("+").arg(count);
        let pending: Vec<(String, String, u64, i64)> = pending.query_async(redis).await?;
        if pending.is_empty() {
            return Ok(Vec::new());
        }
        if pending.len() == count {
            // There may be more of them: the next look is due at once.
            self.looked[lane as usize].0.store(0, Ordering::Relaxed);
        }
        let mut claim = cmd("XCLAIM");
        claim.arg(stream(lane)).arg(GROUP).arg(&self.consumer).arg(idle);
        for (entry, ..) in &pending {
            claim.arg(entry);
        }
        // Those that another gateway was quicker to claim are not idle any more.
        let claimed: Vec<Entry> = claim.query_async(redis).await?;
        let deliveries = |entry: &str| pending.iter().find(|(id, ..)| id == entry).map_or(0, |(.., count)| *count);
        let claimed = claimed.into_iter().map(|entry| (deliveries(&entry.0) + 1, entry));
        leases(redis, lane, claimed).await
    }

    /// Claims jobs that were never handed out.
    async fn fresh(&self, redis: &mut MultiplexedConnection, lane: Lane, count: usize) -> RedisResult<Vec<Lease>> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(GROUP)
            .arg(&self.consumer)
            .arg("COUNT")
            .arg(count)
            .arg("STREAMS")
            .arg(stream(lane))
            .arg(">");
        let streams: Option<Vec<(String, Vec<Entry>)>> = read.query_async(redis).await?;
        let entries = streams.into_iter().flatten().flat_map(|(_, entries)| entries);
        leases(redis, lane, entries.map(|entry| (1, entry))).await
    }

    /// A write under a lease, to be given what is its own.
    fn under<'s>(&self, script: &'s Script, lease: &Lease) -> ScriptInvocation<'s> {
        let mut write = script.key(stream(lease.lane));
        write.key(task(&lease.id)).arg(&lease.entry).arg(&self.consumer).arg(lease.claim);
        write
    }

    /// Runs a write under a lease.
    fn write(&self, write: ScriptInvocation<'static>) -> Reply<'_, Held> {
        Box::pin(self.link.run(move |mut redis| async move { write.invoke_async(&mut redis).await }))
    }
}

impl Store for Redis {
    fn backend(&self) -> &'static str {
        "redis"
    }

    fn push(&self, job: NewJob) -> Reply<'_, ()> {
        Box::pin(self.link.run(move |mut redis| async move {
            let mut push = pipe();
            push.atomic();
            push.cmd("HSET").arg(task(&job.id)).arg(fields(&job));
            push.cmd("XADD").arg(stream(job.lane)).arg("*").arg("task").arg(job.id.as_str());
            push.exec_async(&mut redis).await
        }))
    }

    fn claim(&self, lane: Lane, count: u32) -> Reply<'_, Vec<Job>> {
        let count = count as usize;
        Box::pin(self.link.run(move |mut redis| async move {
            match self.claim_from(&mut redis, lane, count).await {
                Err(error) if error.code() == Some("NOGROUP") => {
                    // Without a group there is no lease either.
                    make_group(&mut redis, lane).await?;
                    self.claim_from(&mut redis, lane, count).await
                }
                claimed => claimed.inspect_err(|_| self.link.outage()),
            }
        }))
    }

    fn extend(&self, lease: &Lease) -> Reply<'_, Held> {
        let extend = self.under(&EXTEND, lease);
        Box::pin(self.link.run(move |mut redis| async move {
            extend.invoke_async(&mut redis).await.inspect_err(|_| self.link.outage())
        }))
    }

    fn finish(&self, lease: &Lease, result: JobResult, then: Option<NewJob>) -> Reply<'_, Held> {
        let mut write = self.under(&FINISH, lease);
        write.arg(result.status).arg(result.body).arg(millis(self.ttl).min(LONGEST_TTL));
        if let Some(then) = then {
            write.key(stream(then.lane)).key(task(&then.id)).arg(then.id.as_str()).arg(fields(&then));
        }
        self.write(write)
    }

    fn discard(&self, lease: &Lease) -> Reply<'_, Held> {
        self.write(self.under(&DISCARD, lease))
    }

    fn release(&self, lease: &Lease, delay: Duration) -> Reply<'_, Held> {
        let mut write = self.under(&RELEASE, lease);
        write.key(waiting(lease.lane)).arg(millis(delay)).arg(lease.id.as_str());
        self.write(write)
    }

    fn state(&self, id: &TaskId) -> Reply<'_, TaskState> {
        let key = task(id);
        Box::pin(self.link.run(move |mut redis| async move {
            let mut ask = pipe();
            ask.cmd("HMGET").arg(&key).arg(&["status", "body"]).cmd("EXISTS").arg(&key);
            let (result, exists): ((Option<u16>, Option<String>), bool) = ask.query_async(&mut redis).await?;
            Ok(match result {
                (Some(status), Some(body)) => TaskState::Finished(JobResult { status, body }),
                _ if exists => TaskState::Processing,
                _ => TaskState::Unknown,
            })
        }))
    }

    fn backlog(&self, lane: Lane) -> Reply<'_, Backlog> {
        Box::pin(self.link.run(move |mut redis| async move {
            let mut count = BACKLOG.key(stream(lane));
            let (jobs, waited) = count.key(waiting(lane)).arg(millis(LEASE)).invoke_async(&mut redis).await?;
            Ok(Backlog { jobs, waited: Duration::from_millis(waited) })
        }))
    }

    fn ping(&self) -> Reply<'_, ()> {
        // A write, since a replica and a Redis without memory answer `PING` as well.
        Box::pin(self.link.run(move |mut redis| async move {
            cmd("SET").arg(key("ping")).arg("").arg("PX").arg(1000).exec_async(&mut redis).await
        }))
    }

    fn sweep(&self) -> Reply<'_, More> {
        self.link.warn_again();
        // Redis itself deletes the results that have expired.
        Box::pin(self.link.run(move |mut redis| async move {
            for lane in Lane::ALL {
                let _: () = FORGET.key(stream(lane)).arg(5 * millis(LEASE)).invoke_async(&mut redis).await?;
            }
            Ok(false)
        }))
    }

    fn allow_injection(&self) -> Reply<'_, Option<Duration>> {
        Box::pin(self.link.run(move |mut redis| async move {
            let mut take = TAKE.key(key("injected"));
            let wait = take.arg(INJECTIONS).arg(millis(INJECTION_SPAN)).invoke_async(&mut redis).await?;
            Ok(Some(Duration::from_millis(wait)).filter(|wait| !wait.is_zero()))
        }))
    }
}

/// The one consumer group of a stream.
const GROUP: &str = "gateways";

/// An entry of a stream: its id, its field and its value.
type Entry = (String, Vec<Vec<u8>>);
/// What the hash of a queued task holds: payload, traceparent, tracestate, and when it was accepted and how often it was
/// run, as far as former entries know it.
type Found = (Option<String>, Option<String>, Option<String>, Option<u64>, Option<u32>);

/// The braces keep all keys in one slot of a cluster.
fn key(name: impl fmt::Display) -> String {
    format!("{{cognigy}}:{name}")
}

fn stream(lane: Lane) -> String {
    key(lane.as_str())
}

fn waiting(lane: Lane) -> String {
    format!("{}:waiting", stream(lane))
}

fn task(id: &TaskId) -> String {
    key(format_args!("task:{id}"))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A new job as the fields of its hash.
fn fields(job: &NewJob) -> Vec<(&'static str, &str)> {
    let optional = [("traceparent", &job.trace.parent), ("tracestate", &job.trace.state)];
    let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    [("payload", job.payload.as_str())].into_iter().chain(optional).collect()
}

/// The leases of entries that were handed out that often. An entry that no gateway made would be handed out for ever: it is
/// deleted.
async fn leases(
    redis: &mut MultiplexedConnection,
    lane: Lane,
    entries: impl Iterator<Item = (i64, Entry)>,
) -> RedisResult<Vec<Lease>> {
    let mut leases = Vec::new();
    for (claim, (entry, fields)) in entries {
        let task = match &fields[..] {
            [name, task] if name == b"task" => str::from_utf8(task).ok().and_then(|task| task.parse().ok()),
            _ => None,
        };
        match task {
            Some(id) => leases.push(Lease { id, lane, entry, claim }),
            None => {
                tracing::error!(entry, "an entry of the queue's stream names no task: it is deleted");
                let mut end = pipe();
                end.cmd("XACK").arg(stream(lane)).arg(GROUP).arg(&entry).cmd("XDEL").arg(stream(lane)).arg(&entry);
                end.exec_async(redis).await?;
            }
        }
    }
    Ok(leases)
}

/// The job of a lease, unless Redis knows nothing of it any more.
fn job(lease: &Lease, (payload, parent, state, accepted, runs): Found, now: u64) -> Option<Job> {
    // The number before the hyphen is when the entry was made.
    let made = || lease.entry.split('-').next()?.parse().ok();
    let accepted = accepted.or_else(made).unwrap_or(now);
    Some(Job {
        lease: lease.clone(),
        payload: payload?,
        trace: TraceContext { parent, state },
        runs: runs.unwrap_or(0).saturating_add(u32::try_from(lease.claim).unwrap_or(u32::MAX)),
        age: Duration::from_millis(now.saturating_sub(accepted)),
    })
}

/// Makes the group of a stream, and with it the stream. It gets all that was queued before.
async fn make_group(redis: &mut MultiplexedConnection, lane: Lane) -> RedisResult<()> {
    let mut make = cmd("XGROUP");
    make.arg("CREATE").arg(stream(lane)).arg(GROUP).arg(0).arg("MKSTREAM");
    match make.exec_async(redis).await {
        // Another gateway was quicker.
        Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
        made => made,
    }
}
