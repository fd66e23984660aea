//! One attempt to call the downstream: its span, its metrics, and how it ended.

use futures_util::FutureExt;
use portcullis::{
    BoxError,
    bearer::Repeated,
    retry::{Attempt, Cause},
    time::{Clock, Tick},
};
use tower::{Service, ServiceExt, timeout::error::Elapsed};
use tracing::{Instrument, info_span};

use crate::{
    downstream::CallError,
    exchange::{Answer, Request, causes},
    metrics,
    recent::{CallEnding, Origin, Recent},
    telemetry::{SPANS, Shown, fail, say, say_status},
    trace::TraceContext,
};

/// One attempt, with its span and its metrics.
///
/// No `async` block, which would hold the request beside the call that it went into.
pub(crate) fn attempt<S>(
    inner: S,
    mut request: Request,
    origin: Origin,
    recent: &'static Recent,
) -> impl Future<Output = Result<Answer, CallError>> + use<S>
where
    S: Service<Request, Response = Answer, Error = BoxError>,
{
    let (number, previous) =
        request.extensions().get::<Attempt>().map_or((0, None), |attempt| (attempt.number(), attempt.previous()));
    // A repeat after a 401 is of the same attempt.
    if let Some(cause) = previous.filter(|_| request.extensions().get::<Repeated>().is_none()) {
        metrics::retried(match cause {
            Cause::Status(status) => Some(status),
            _ => None,
        });
    }
    let span = info_span!(
        target: SPANS,
        "downstream_api_call",
        otel.kind = "client",
        retry.attempt = i64::from(number),
    );
    say(&span, "http.request.method", Shown(request.method()));
    say(&span, "url.full", Shown(request.uri()));
    if let Some(trace) = TraceContext::within(&span) {
        trace.put(request.headers_mut());
    }
    let clock = Clock::precise();
    let ending = CallEnding::CutOff;
    let running = Running { began: clock.now(), clock, origin, number, ending, recent };
    inner.oneshot(request).map(|result| running.end(result)).instrument(span)
}

/// An attempt that runs, within its span: however it ends, its duration counts, and being cut off is a failure.
struct Running {
    clock: Clock,
    began: Tick,
    origin: Origin,
    number: u32,
    /// How it ends if nothing else is said.
    ending: CallEnding,
    recent: &'static Recent,
}

impl Running {
    fn end(mut self, result: Result<Answer, BoxError>) -> Result<Answer, CallError> {
        let result = judge(result);
        self.ending = match &result {
            Ok(answer) => CallEnding::Status(answer.status()),
            Err(CallError::Timeout) => CallEnding::Timeout,
            Err(_) => CallEnding::Unreachable,
        };
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let took = self.clock.now().since(self.began);
        metrics::attempted(took);
        self.recent.ended(self.origin, self.number, self.ending, took);
        if self.ending == CallEnding::CutOff {
            fail("cancelled", "cut off before its answer".to_owned());
        }
    }
}

/// Says in the attempt's span how it ended.
fn judge(result: Result<Answer, BoxError>) -> Result<Answer, CallError> {
    match result {
        Ok(answer) => {
            let status = answer.status();
            say_status(status);
            if status.is_client_error() || status.is_server_error() {
                tracing::warn!(status = status.as_u16(), "the downstream answered with an error");
                fail(status.as_str(), status.to_string());
            }
            Ok(answer)
        }
        Err(error) if error.is::<Elapsed>() => {
            tracing::warn!("the downstream did not answer in time");
            fail("timeout", "the downstream did not answer in time".to_owned());
            Err(CallError::Timeout)
        }
        Err(error) => {
            let error = causes(error.as_ref());
            tracing::warn!(error, "the downstream cannot be reached");
            fail("unreachable", error);
            Err(CallError::Unreachable)
        }
    }
}
