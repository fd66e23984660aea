//! How a job ends: its lookup in the downstream, and the fallback in place of what goes wrong.

use http::StatusCode;
use portcullis::{
    breaker::{BreakerError, Rejected},
    fallback::FallbackLayer,
};
use serde_json::json;
use tower::{ServiceBuilder, util::BoxCloneSyncService};

use crate::{
    downstream::{Answer, Client, Failed, Request},
    queue::JobResult,
    settings::Settings,
};

/// Runs a job's lookup to its end. The one error left is the circuit's rejection, since such a job may wait.
pub(crate) type Lookups = BoxCloneSyncService<Request, Ending, Rejected>;

/// How a job ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// With the downstream's JSON.
    Found(String),
    /// The downstream refused, and would do so again.
    Refused(StatusCode),
    /// Without an answer: Cognigy goes on at the fallback node.
    Fallback,
}

/// Why a lookup brought no answer.
#[derive(Debug)]
enum Unanswered {
    Rejected(Rejected),
    Other(String),
}

pub(crate) fn lookups(client: Client) -> Lookups {
    let stack = ServiceBuilder::new()
        .layer(FallbackLayer::new(|why: Result<Ending, Unanswered>| match why {
            Err(Unanswered::Rejected(rejected)) => Err(rejected),
            Err(Unanswered::Other(why)) => {
                tracing::warn!(why, "the job falls back");
                Ok(Ending::Fallback)
            }
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
    /// A word for logs.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Found(_) => "found",
            Self::Refused(_) => "refused",
            Self::Fallback => "fallback",
        }
    }

    /// What the status route answers.
    pub(crate) fn result(&self, settings: &Settings) -> JobResult {
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
