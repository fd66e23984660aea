//! Tells Cognigy the results of queued webhooks, where it wants to be told: jobs of a lane of their own.

use std::{sync::Arc, time::Duration};

use http::{Uri, header};
use http_body_util::Full;
use portcullis::{
    BoxError, ConfigError,
    breaker::{BreakerError, CircuitBreakerLayer, Rejected},
    outcome::{AsRejection, Classify, Http, Outcome},
    retry::{RetryError, RetryLayer},
};
use tower::{
    Service, ServiceBuilder, ServiceExt, layer::layer_fn, service_fn, timeout::TimeoutLayer, util::BoxCloneSyncService,
};
use tracing::{Instrument, info_span};

use crate::{
    exchange::{Answer, Client, IDEMPOTENCY_KEY, Request, SHORT, causes, exchange},
    metrics, policies,
    queue::{Job, Lane, Queue, Unavailable},
    settings::Settings,
    shutdown::{Phase, Shutdown, pause},
    telemetry::{SPANS, fail},
    worker::{Ended, Next, Work, wait_for},
};

/// The wait before the queue is asked again whether a request may be sent.
const QUEUE_AWAY: Duration = Duration::from_secs(1);

/// The jobs that post results.
pub(crate) struct Injections {
    stack: BoxCloneSyncService<Request, Answer, RetryError<NotSent>>,
    url: Uri,
    settings: Arc<Settings>,
}

/// Why a request was not sent, or brought no answer.
#[derive(Debug)]
enum NotSent {
    /// The gateway ends, and does not wait for Cognigy's limit.
    Stopping,
    Rejected(Rejected),
    /// Why, for the log.
    Failed(String),
}

/// Why an attempt that the circuit let through brought no answer.
#[derive(Debug)]
enum Unanswered {
    /// Cognigy takes one more after so long.
    NoPlace(Duration),
    Failed(BoxError),
}

/// Worth a retry is what failed; everything else goes back into the queue.
impl AsRejection for NotSent {
    fn is_rejection(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

impl Injections {
    /// A retry and a circuit of their own, set as those of the downstream are.
    pub(crate) fn new(
        settings: Arc<Settings>,
        url: Uri,
        client: Client,
        queue: &Queue,
        shutdown: &Shutdown,
    ) -> Result<Self, ConfigError> {
        let (queue, shutdown) = (queue.clone(), shutdown.clone());
        let patient = layer_fn(move |inner| {
            let shutdown = shutdown.clone();
            service_fn(move |request| patient(shutdown.clone(), Clone::clone(&inner), request))
        });
        let limited = layer_fn(move |inner| {
            let queue = queue.clone();
            service_fn(move |request| limited(queue.clone(), Clone::clone(&inner), request))
        });
        let stack = ServiceBuilder::new()
            .layer(RetryLayer::new(policies::retries(&settings).build()?))
            .layer(patient)
            // Asked before the limit: what it rejects takes none of the places.
            .layer(CircuitBreakerLayer::new(policies::circuit("inject", &settings)?).classify(outcome))
            .layer(limited)
            .layer(TimeoutLayer::new(settings.downstream_timeout))
            .service(exchange(client, SHORT));
        Ok(Self { stack: BoxCloneSyncService::new(stack), url, settings })
    }

    async fn send(&self, job: &Job) -> Result<(), NotSent> {
        let request = http::Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, job.lease.id.as_str())
            .body(Full::from(job.payload.clone()))
            .map_err(|error| NotSent::Failed(error.to_string()))?;
        let answer = self.stack.clone().oneshot(request).await.map_err(|failed| {
            failed.into_inner().unwrap_or_else(|| NotSent::Failed("no attempt ended in time".into()))
        })?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(NotSent::Failed(format!("status {status}"))) }
    }
}

/// Sends a request again and again until Cognigy takes one more.
async fn patient<S>(mut shutdown: Shutdown, inner: S, request: Request) -> Result<Answer, NotSent>
where
    S: Service<Request, Response = Answer, Error = BreakerError<Unanswered>> + Clone,
{
    loop {
        let wait = match inner.clone().oneshot(request.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(BreakerError::Rejected(rejected)) => return Err(NotSent::Rejected(rejected)),
            Err(BreakerError::Inner(Unanswered::Failed(error))) => {
                return Err(NotSent::Failed(causes(error.as_ref())));
            }
            Err(BreakerError::Inner(Unanswered::NoPlace(wait))) => wait,
        };
        tokio::select! {
            () = pause(wait) => {}
            () = shutdown.reached(Phase::Draining) => return Err(NotSent::Stopping),
        }
    }
}

/// Sends a request if Cognigy takes one more.
async fn limited<S>(queue: Queue, inner: S, request: Request) -> Result<Answer, Unanswered>
where
    S: Service<Request, Response = Answer, Error = BoxError>,
{
    match queue.allow_injection().await {
        Ok(None) => inner.oneshot(request).await.map_err(Unanswered::Failed),
        Ok(Some(wait)) => Err(Unanswered::NoPlace(wait)),
        Err(Unavailable) => Err(Unanswered::NoPlace(QUEUE_AWAY)),
    }
}

/// What an attempt counts as for the circuit: a place that is missing says nothing about Cognigy.
fn outcome(result: Result<&Answer, &Unanswered>) -> Outcome {
    match result {
        Err(Unanswered::NoPlace(_)) => Outcome::Ignored,
        result => Http.classify(result),
    }
}

impl Work for Injections {
    const LANE: Lane = Lane::Injections;

    async fn perform(&self, job: &Job) -> Next {
        let failed = |why: &str| {
            tracing::warn!(why, "a result was not injected");
            fail("not_injected", why.to_owned());
            Next::Discard(Ended { word: "not injected", count: metrics::not_injected })
        };
        let span = info_span!(target: SPANS, "inject_result", otel.kind = "consumer");
        job.trace.adopt(&span);
        let sent = async {
            if job.runs > self.settings.job_max_runs {
                return failed("its gateway died each time it ran");
            }
            match self.send(job).await {
                Ok(()) => Next::Discard(Ended::uncounted("injected")),
                Err(NotSent::Stopping) => Next::Wait(Duration::ZERO),
                Err(NotSent::Rejected(rejected)) => wait_for(&rejected, job, self.settings.job_circuit_wait)
                    .map_or_else(|| failed(&rejected.to_string()), Next::Wait),
                Err(NotSent::Failed(why)) => failed(&why),
            }
        };
        sent.instrument(span).await
    }
}
