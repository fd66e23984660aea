//! Runs jobs: claims as many as there are free places, keeps their leases, and writes down how they ended.

use std::{sync::Arc, time::Duration};

use portcullis::breaker::Rejected;
use tokio::{
    select,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tracing::{Instrument, info_span};

use crate::{
    queue::{Backlog, Job, JobResult, LEASE, Lane, Lease, NewJob, Queue, Unavailable},
    shutdown::{Phase, Shutdown, pause},
};

/// How often the queue is asked for jobs that nobody announced: those of other gateways, and those that had to wait.
const POLL: Duration = Duration::from_millis(500);
/// The wait after an error of the queue; the shorter one is for a job's own writes, so that a lease is extended before it
/// could be claimed anew.
const BACK_OFF: Duration = Duration::from_secs(1);
const WRITE_AGAIN: Duration = Duration::from_millis(250);
/// How long a job waits before it asks a half-open circuit again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The longest wait back in the queue, below the time that a lease takes to end.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What the jobs of a lane are for.
pub(crate) trait Work: Send + Sync + 'static {
    const LANE: Lane;

    /// One run of a job.
    fn perform(&self, job: &Job) -> impl Future<Output = Next> + Send;
}

/// How a job ended.
#[derive(Clone, Copy)]
pub(crate) struct Ended {
    /// A word for the log.
    pub(crate) word: &'static str,
    /// Counts it, once the queue has it.
    pub(crate) count: fn(),
}

impl Ended {
    /// One that nothing counts.
    pub(crate) const fn uncounted(word: &'static str) -> Self {
        Self { word, count: || () }
    }
}

/// What becomes of a job after a run.
pub(crate) enum Next {
    /// It has a result, and there may be something left to do.
    Finish { ended: Ended, result: JobResult, then: Option<NewJob> },
    /// It is over, and nobody asks for a result.
    Discard(Ended),
    /// It is due again after a while; the run is not counted.
    Wait(Duration),
}

/// Runs the jobs of one lane.
pub(crate) struct Worker<W> {
    pub(crate) queue: Queue,
    pub(crate) work: W,
    /// How many jobs run at once.
    pub(crate) places: u32,
    pub(crate) shutdown: Shutdown,
}

/// How long a job that its circuit rejects is put back into the queue, if it may wait any longer: `limit` counts from when it
/// was accepted.
pub(crate) fn wait_for(rejected: &Rejected, job: &Job, limit: Duration) -> Option<Duration> {
    let left = limit.saturating_sub(job.age);
    let wait = rejected.retry_after().unwrap_or(ASK_AGAIN).max(WRITE_AGAIN).min(left).min(LONGEST_WAIT);
    (!left.is_zero()).then_some(wait)
}

impl<W: Work> Worker<W> {
    /// Works until the shutdown begins, and until the jobs that run then are done or broken off.
    pub(crate) async fn run(self) {
        let worker = Arc::new(self);
        let places = usize::try_from(worker.places).unwrap_or(usize::MAX);
        let mut shutdown = worker.shutdown.clone();
        select! {
            () = worker.tell_found() => {}
            () = shutdown.reached(Phase::Draining) => return,
        }
        let mut jobs = JoinSet::new();
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while jobs.try_join_next().is_some() {}
            let free = places - jobs.len();
            if free > 0 {
                match worker.queue.claim(W::LANE, u32::try_from(free).unwrap_or(u32::MAX)).await {
                    Ok(claimed) => {
                        for job in claimed {
                            jobs.spawn(Arc::clone(&worker).take(job));
                        }
                    }
                    Err(Unavailable) => pause(BACK_OFF).await,
                }
            }
            select! {
                () = shutdown.reached(Phase::Draining) => break,
                () = worker.queue.arrived(W::LANE), if jobs.len() < places => {}
                _ = poll.tick(), if jobs.len() < places => {}
                Some(_) = jobs.join_next() => {}
            }
        }
        while jobs.join_next().await.is_some() {}
    }

    /// Says what is left from before, as soon as the queue can be asked.
    async fn tell_found(&self) {
        loop {
            match self.queue.backlog(W::LANE).await {
                Ok(Backlog { jobs: 0, .. }) => return,
                Ok(Backlog { jobs, .. }) => {
                    tracing::info!(lane = W::LANE.as_str(), jobs, "jobs were in the queue at the start");
                    return;
                }
                Err(Unavailable) => pause(BACK_OFF).await,
            }
        }
    }

    /// One run of a job: to its end, until its lease is lost, or until the shutdown breaks it off.
    async fn take(self: Arc<Self>, job: Job) {
        let mut shutdown = self.shutdown.clone();
        let run = async {
            let lease = &job.lease;
            let (ended, held) = match self.work.perform(&job).await {
                Next::Finish { ended, result, then } => {
                    (ended, self.write(|| self.queue.finish(lease, result.clone(), then.clone())).await)
                }
                Next::Discard(ended) => (ended, self.write(|| self.queue.discard(lease)).await),
                Next::Wait(delay) => {
                    self.write(|| self.queue.release(lease, delay)).await;
                    return;
                }
            };
            if held {
                tracing::info!(ending = ended.word, "finished");
                (ended.count)();
            }
        };
        let span = info_span!("job", task_id = %job.lease.id, run = job.runs);
        select! {
            // A run that has ended has no lease to lose.
            biased;
            () = run.instrument(span) => {}
            () = self.lose(&job.lease) => tracing::warn!(task_id = %job.lease.id, "the job's lease was lost: another gateway has it"),
            () = shutdown.reached(Phase::Cut) => {
                // Once: where the queue is away too, the lease ends by itself.
                let put_back = self.queue.release(&job.lease, Duration::ZERO).await;
                tracing::warn!(task_id = %job.lease.id, put_back = matches!(put_back, Ok(true)), "the job was broken off");
            }
        }
    }

    /// Repeats a write until the queue has taken or refused it.
    async fn write<T, F>(&self, mut write: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, Unavailable>>,
    {
        loop {
            match write().await {
                Ok(answer) => return answer,
                Err(Unavailable) => pause(WRITE_AGAIN).await,
            }
        }
    }

    /// Keeps a lease, and resolves once it is lost.
    async fn lose(&self, lease: &Lease) {
        loop {
            pause(LEASE / 3).await;
            if !self.write(|| self.queue.extend(lease)).await {
                return;
            }
        }
    }
}
