//! Runs jobs: claims as many as there are free places, keeps their leases, and writes down how they ended.

use std::{sync::Arc, time::Duration};

use portcullis::breaker::Rejected;
use tokio::{
    select,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tower::ServiceExt;
use tracing::{Instrument, info_span};

use crate::{
    dialog::DialogEvent,
    downstream::Downstream,
    lookup::{Ending, Lookups},
    metrics,
    queue::{Job, LEASE, Lease, Queue, Unavailable},
    settings::Settings,
    shutdown::{Phase, Shutdown, pause},
};

/// How often the queue is asked for jobs that nobody announced: those of other gateways, and those that had to wait.
const POLL: Duration = Duration::from_millis(500);
/// How often expired results are deleted.
const SWEEP: Duration = Duration::from_secs(10);
/// The wait after an error of the queue; the shorter one is for a job's own writes, so that a lease is extended before it
/// could be claimed anew.
const BACK_OFF: Duration = Duration::from_secs(1);
const WRITE_AGAIN: Duration = Duration::from_millis(250);
/// How long a job waits before it asks a half-open circuit again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The longest wait back in the queue, below the time that a lease takes to end.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

pub(crate) struct Worker {
    pub(crate) queue: Queue,
    pub(crate) lookups: Lookups,
    pub(crate) downstream: Arc<Downstream>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) shutdown: Shutdown,
}

/// What becomes of a job after a run.
enum Next {
    End(Ending),
    Wait(Duration),
}

impl Worker {
    /// Works until the shutdown begins, and until the jobs that run then are done or broken off.
    pub(crate) async fn run(self) {
        let worker = Arc::new(self);
        let places = usize::try_from(worker.settings.queue_concurrency).unwrap_or(usize::MAX);
        let mut shutdown = worker.shutdown.clone();
        let mut jobs = JoinSet::new();
        let (mut poll, mut sweep) = (ticks(POLL), ticks(SWEEP));
        loop {
            while jobs.try_join_next().is_some() {}
            let free = places - jobs.len();
            if free > 0 {
                match worker.queue.claim(u32::try_from(free).unwrap_or(u32::MAX)).await {
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
                () = worker.queue.arrived(), if jobs.len() < places => {}
                _ = poll.tick(), if jobs.len() < places => {}
                Some(_) = jobs.join_next() => {}
                _ = sweep.tick() => drop(worker.queue.sweep().await),
            }
        }
        while jobs.join_next().await.is_some() {}
    }

    /// One run of a job: to its end, until its lease is lost, or until the shutdown breaks it off.
    async fn take(self: Arc<Self>, job: Job) {
        let mut shutdown = self.shutdown.clone();
        let run = async {
            match self.perform(&job).await {
                Next::End(ending) => self.finish(&job.lease, &ending).await,
                Next::Wait(delay) => {
                    self.write(|| self.queue.release(&job.lease, delay)).await;
                }
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

    /// Does what the job is for.
    async fn perform(&self, job: &Job) -> Next {
        if job.runs > self.settings.job_max_runs {
            tracing::warn!(runs = job.runs - 1, "the job's gateway died each time it ran: the job falls back");
            return Next::End(Ending::Fallback);
        }
        let Ok(event) = DialogEvent::parse(job.event.as_bytes()) else {
            tracing::error!("the job's event cannot be read any more: the job falls back");
            return Next::End(Ending::Fallback);
        };
        let span = info_span!(
            "process_dialog_event",
            cognigy.conversation_id = event.conversation_id(),
            cognigy.current_node = event.current_node(),
        );
        let request = self.downstream.post("/v1/customer/lookup", event.lookup(), job.lease.id.as_str(), &job.trace);
        let ending = self.lookups.clone().oneshot(request).instrument(span.clone()).await;
        span.in_scope(|| match ending {
            Ok(ending) => Next::End(ending),
            Err(rejected) => self.rejected(job, &rejected),
        })
    }

    /// A job that the circuit rejected waits in the queue as long as it may, and then falls back.
    fn rejected(&self, job: &Job, rejected: &Rejected) -> Next {
        let left = self.settings.job_circuit_wait.saturating_sub(job.age);
        if left.is_zero() {
            tracing::warn!(%rejected, "the job falls back");
            return Next::End(Ending::Fallback);
        }
        tracing::info!(%rejected, "the job waits for the circuit");
        Next::Wait(rejected.retry_after().unwrap_or(ASK_AGAIN).max(WRITE_AGAIN).min(left).min(LONGEST_WAIT))
    }

    async fn finish(&self, lease: &Lease, ending: &Ending) {
        let result = ending.result(&self.settings);
        if self.write(|| self.queue.finish(lease, result.clone())).await {
            tracing::info!(ending = ending.as_str(), "finished");
            if matches!(ending, Ending::Fallback) {
                metrics::fell_back();
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

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
