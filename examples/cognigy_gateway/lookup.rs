//! What a queued webhook asks for: a lookup in the downstream, and the fallback in place of what goes wrong.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use portcullis::{
    breaker::{BreakerError, Rejected},
    fallback::FallbackLayer,
};
use serde_json::json;
use tower::{Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tracing::{Instrument, info_span};

use crate::{
    dialog::DialogEvent,
    downstream::{Downstream, Failed},
    exchange::{Answer, Request, post},
    metrics,
    queue::{Job, JobResult, Lane, NewJob, TaskId},
    settings::Settings,
    telemetry::{SPANS, fail},
    trace::TraceContext,
    worker::{Ended, Next, Work, wait_for},
};

/// Runs lookups. The one error left is the circuit's rejection, since such a job may wait.
type Stack = BoxCloneSyncService<Request, Ending, Rejected>;

/// The jobs of webhooks.
pub(crate) struct Lookups {
    stack: Stack,
    downstream: &'static Downstream,
    settings: Arc<Settings>,
}

impl Lookups {
    pub(crate) fn new<S>(client: S, downstream: &'static Downstream, settings: Arc<Settings>) -> Self
    where
        S: Service<Request, Response = Answer, Error = Failed, Future: Send> + Clone + Send + Sync + 'static,
    {
        Self { stack: stack(client), downstream, settings }
    }

    async fn look_up(&self, job: &Job, event: &DialogEvent<'_>, trace: TraceContext) -> Result<Ending, Duration> {
        let request = post(&self.downstream.lookup, event.lookup(), job.lease.id.clone().into(), trace);
        self.stack.clone().oneshot(request).await.or_else(|rejected| {
            match wait_for(&rejected, job, self.settings.job_circuit_wait) {
                Some(wait) => {
                    tracing::info!(%rejected, "the job waits for the circuit");
                    Err(wait)
                }
                None => Ok(fall_back(rejected.to_string())),
            }
        })
    }
}

impl Work for Lookups {
    const LANE: Lane = Lane::Lookups;

    async fn perform(&self, job: &Job) -> Next {
        let Ok(event) = DialogEvent::parse(job.payload.as_bytes()) else {
            tracing::error!("the job's event cannot be read any more: the job falls back");
            return self.end(Ending::Fallback, None);
        };
        let span = info_span!(
            target: SPANS,
            "process_dialog_event",
            otel.kind = "consumer",
            cognigy.conversation_id = event.conversation_id(),
            cognigy.current_node = event.current_node(),
        );
        let trace = job.trace.enter(&span);
        let run = async {
            if job.runs > self.settings.job_max_runs {
                return Ok(fall_back(format!("its gateway died each of the {} times it ran", job.runs - 1)));
            }
            self.look_up(job, &event, trace.clone()).await
        };
        match run.instrument(span).await {
            Ok(ending) => self.end(ending, Some((&event, trace))),
            Err(wait) => Next::Wait(wait),
        }
    }
}

impl Lookups {
    /// The result, and what Cognigy is told of it where it wants to be.
    fn end(&self, ending: Ending, of: Option<(&DialogEvent<'_>, TraceContext)>) -> Next {
        let result = ending.result(&self.settings);
        let injection = of.filter(|_| self.settings.cognigy_inject_url.is_some()).map(|(event, trace)| NewJob {
            id: TaskId::random(),
            lane: Lane::Injections,
            payload: event.injection(&result.body),
            trace,
        });
        Next::Finish { ended: ending.ended(), result, then: injection }
    }
}

/// How a lookup ended.
#[derive(Debug)]
enum Ending {
    /// With the downstream's JSON.
    Found(String),
    /// The downstream refused, and would do so again.
    Refused(StatusCode),
    /// Without an answer: Cognigy goes on at the fallback node.
    Fallback,
}

/// The fallback, which the job's span and its log tell of.
fn fall_back(why: String) -> Ending {
    tracing::warn!(why, "the job falls back");
    fail("downstream_unavailable", why);
    Ending::Fallback
}

/// Why a lookup brought no answer.
#[derive(Debug)]
enum Unanswered {
    Rejected(Rejected),
    Other(String),
}

fn stack<S>(client: S) -> Stack
where
    S: Service<Request, Response = Answer, Error = Failed, Future: Send> + Clone + Send + Sync + 'static,
{
    let stack = ServiceBuilder::new()
        .layer(FallbackLayer::new(|why: Result<Ending, Unanswered>| match why {
            Err(Unanswered::Rejected(rejected)) => Err(rejected),
            Err(Unanswered::Other(why)) => Ok(fall_back(why)),
            Ok(ending) => Ok(ending),
        }))
        .map_result(judge)
        .service(client);
    BoxCloneSyncService::new(stack)
}

impl From<Failed> for Unanswered {
    fn from(failed: Failed) -> Self {
        match failed.into_inner() {
            Some(BreakerError::Rejected(rejected)) => Self::Rejected(rejected),
            Some(BreakerError::Inner(error)) => Self::Other(format!("no answer: {error:?}")),
            None => Self::Other("JOB_TIMEOUT has passed".into()),
        }
    }
}

/// Judges what remains once the retries are over.
fn judge(result: Result<Answer, Failed>) -> Result<Ending, Unanswered> {
    let answer = result?;
    let status = answer.status();
    match (status.as_u16(), answer.into_body()) {
        (200..=299, content) => match content.json() {
            Some(json) => Ok(Ending::Found(json.to_owned())),
            None => Err(Unanswered::Other("the answer is no JSON, or too long".into())),
        },
        // Worth a retry, so it is the attempts that ended, and not the matter.
        (408 | 425 | 429, _) => Err(Unanswered::Other(format!("status {status} outlasted the attempts"))),
        (300..=499, _) => Ok(Ending::Refused(status)),
        _ => Err(Unanswered::Other(format!("status {status}"))),
    }
}

impl Ending {
    /// What is logged of it, and counted.
    fn ended(&self) -> Ended {
        match self {
            Self::Found(_) => Ended::uncounted("found"),
            Self::Refused(_) => Ended::uncounted("refused"),
            Self::Fallback => Ended { word: "fallback", count: metrics::fell_back },
        }
    }

    /// What the status route answers.
    fn result(&self, settings: &Settings) -> JobResult {
        let (status, body) = match self {
            Self::Found(lookup) => {
                // Put together by hand around the downstream's text, which is JSON.
                let node = json!(settings.success_node);
                let variables = format!(r#"{{"lookupStatus":"completed","lookup":{lookup}}}"#);
                (200, format!(r#"{{"status":"success","nextNode":{node},"variables":{variables}}}"#))
            }
            Self::Refused(status) => {
                let body =
                    json!({ "status": "failed", "error": "downstream_rejected", "downstreamStatus": status.as_u16() });
                (500, body.to_string())
            }
            Self::Fallback => {
                let variables = json!({
                    "lookupStatus": "failed",
                    "failureReason": "downstream_unavailable",
                    "maxRetries": settings.retry_max_attempts,
                });
                let body = json!({ "status": "success", "nextNode": settings.fallback_node, "variables": variables });
                (200, body.to_string())
            }
        };
        JobResult { status, body }
    }
}
