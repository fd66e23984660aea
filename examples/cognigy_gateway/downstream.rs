//! The stack that calls the downstream, outermost layer first: retry, breaker, token, span and metrics, timeout.
//!
//! The innermost service reads the whole answer within its bound, so that every layer judges the complete one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, StatusCode, Uri, header};
use http_body_util::Full;
use portcullis::{
    BoxError, ConfigError,
    bearer::{BearerError, Repeated},
    breaker::{BreakerError, Circuit, CircuitBreakerLayer, HalfOpen},
    outcome::{AsRejection, Classify, Http, Outcome},
    retry::{Attempt, Backoff, Cause, Jitter, RetryError, RetryLayer, RetryPolicy, RetryPolicyBuilder},
    time::{Clock, Tick},
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    layer::layer_fn,
    service_fn,
    timeout::error::Elapsed,
    util::{BoxCloneSyncService, Either},
};
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    dashboard::{Ending, Origin, Recent},
    exchange::{Answer, Client, IDEMPOTENCY_KEY, Request, causes, exchange},
    metrics,
    oauth::{self, Tokens},
    settings::{BaseUrl, Hidden, Settings},
    shutdown::pause,
    telemetry::{SPANS, Shown, fail},
    trace::TraceContext,
};

/// How often a failing token server is asked where no call does.
const TOKEN_PAUSE: Duration = Duration::from_millis(500);

pub(crate) type Failed = RetryError<BreakerError<CallError>>;
/// Calls with retries, through the circuit.
pub(crate) type Calls = BoxCloneSyncService<Request, Answer, Failed>;
/// Calls past the circuit, once: for health checks.
pub(crate) type Direct = BoxCloneSyncService<Request, Answer, BearerError<BoxError>>;

/// Why an attempt brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// It took longer than `DOWNSTREAM_TIMEOUT`.
    Timeout,
    /// No connection, or one that broke off.
    Unreachable,
    /// The token server gave none.
    NoToken,
}

impl AsRejection for CallError {}

impl From<BearerError<Self>> for CallError {
    fn from(error: BearerError<Self>) -> Self {
        match error {
            BearerError::NoToken(_) => Self::NoToken,
            BearerError::Inner(error) => error,
        }
    }
}

/// What a call counts as for the circuit: a missing token says nothing about the downstream.
fn outcome(result: Result<&Answer, &CallError>) -> Outcome {
    match result {
        Err(CallError::NoToken) => Outcome::Ignored,
        result => Http.classify(result),
    }
}

/// A circuit as the settings have it. Both routes share one, since they share one downstream.
pub(crate) fn circuit(name: &'static str, settings: &Settings) -> Result<Circuit, ConfigError> {
    let mut circuit = Circuit::builder(name)
        // The wait is told in whole seconds, rounded up: with what a coarse clock may lag it would be a second too long.
        .clock(Clock::precise())
        .failure_rate(settings.breaker_error_rate)
        .slow_call(settings.breaker_slow_call)
        .slow_call_rate(settings.breaker_slow_rate)
        .minimum_calls(settings.breaker_min_calls.into())
        .window(settings.breaker_window)
        .open_for(settings.breaker_open_for)
        .half_open(
            HalfOpen::permits(settings.breaker_probes)
                .successes(settings.probe_successes())
                .timeout(settings.breaker_half_open_timeout),
        );
    // Each of these is off at zero.
    if settings.breaker_consecutive_failures > 0 {
        circuit = circuit.consecutive_failures(settings.breaker_consecutive_failures);
    }
    if settings.breaker_failures > 0 {
        circuit = circuit.failures(settings.breaker_failures.into());
    }
    if !settings.breaker_mean_latency.is_zero() {
        circuit = circuit.mean_latency(settings.breaker_mean_latency);
    }
    // There are two at most, for as long as the gateway runs.
    circuit.build().map(Circuit::leak)
}

/// Retries as the settings have them.
pub(crate) fn retries(settings: &Settings) -> RetryPolicyBuilder<Http, Http> {
    RetryPolicy::http()
        .max_attempts(settings.retry_max_attempts)
        .backoff(
            Backoff::exponential(settings.retry_base_delay, settings.retry_max_delay)
                .jitter(Jitter::Additive(settings.retry_jitter)),
        )
        .retry_after_max(settings.retry_after_max)
        .hint_jitter(0.1)
}

/// Where the downstream is, and what it takes to call it.
pub(crate) struct Downstream {
    /// Where jobs ask.
    pub(crate) lookup: Uri,
    /// Where proxied calls go.
    pub(crate) process: Uri,
    health: Uri,
    token: Option<HeaderValue>,
    /// In place of the fixed token.
    tokens: Option<Tokens>,
    http: Client,
    timeout: Duration,
    max_bytes: usize,
    /// What the page at `/` shows of calls.
    pub(crate) recent: Arc<Recent>,
}

impl Downstream {
    /// `http` is for the downstream, `others` for the token server.
    pub(crate) fn new(settings: &Settings, base: &BaseUrl, http: Client, others: &Client) -> Self {
        Self {
            lookup: base.join("/v1/customer/lookup"),
            process: base.join("/v2/process/cognigy"),
            health: base.join("/v2/health"),
            token: settings.downstream_bearer_token.as_ref().and_then(Hidden::bearer),
            tokens: oauth::tokens(settings, others),
            http,
            timeout: settings.downstream_timeout,
            max_bytes: settings.downstream_max_bytes.get(),
            recent: Arc::default(),
        }
    }

    /// Calls that are repeated until `deadline`, each attempt through `circuit`.
    pub(crate) fn client(
        &self,
        settings: &Settings,
        circuit: &Circuit,
        origin: Origin,
        deadline: Duration,
    ) -> Result<Calls, ConfigError> {
        let (recent, rejected) = (Arc::clone(&self.recent), Arc::clone(&self.recent));
        let attempts = ServiceBuilder::new()
            .layer(layer_fn(move |inner| {
                let recent = Arc::clone(&recent);
                service_fn(move |request| attempt(Clone::clone(&inner), request, origin, Arc::clone(&recent)))
            }))
            .service(self.exchange());
        let stack = ServiceBuilder::new()
            .layer(RetryLayer::new(retries(settings).deadline(deadline).build()?))
            .map_err(move |error| {
                if matches!(error, BreakerError::Rejected(_)) {
                    rejected.rejected(origin);
                }
                error
            })
            // What the circuit's readiness waits for, which is the token, is waited for within the deadline.
            .layer(layer_fn(|inner| service_fn(move |request| ServiceExt::oneshot(Clone::clone(&inner), request))))
            .layer(CircuitBreakerLayer::new(circuit.clone()).classify(outcome))
            .map_err(CallError::from)
            .service(self.authorized(attempts));
        Ok(BoxCloneSyncService::new(stack))
    }

    /// Single calls that the circuit does not see.
    pub(crate) fn direct(&self) -> Direct {
        BoxCloneSyncService::new(self.authorized(self.exchange()))
    }

    /// One exchange within its limits.
    fn exchange(
        &self,
    ) -> impl Service<Request, Response = Answer, Error = BoxError, Future: Send> + Clone + Send + Sync + use<> {
        ServiceBuilder::new().timeout(self.timeout).service(exchange(self.http.clone(), self.max_bytes))
    }

    /// Waits until a request would have its token.
    pub(crate) async fn token(&self) {
        let Some(tokens) = &self.tokens else { return };
        while tokens.ready().await.is_err() {
            pause(TOKEN_PAUSE).await;
        }
    }

    /// Puts the token on requests.
    fn authorized<S, E>(
        &self,
        inner: S,
    ) -> impl Service<Request, Response = Answer, Error = BearerError<E>, Future: Send> + Clone + Send + Sync + use<S, E>
    where
        S: Service<Request, Response = Answer, Error = E, Future: Send> + Clone + Send + Sync + 'static,
        E: Send + 'static,
    {
        match &self.tokens {
            Some(tokens) => Either::Left(tokens.layer(inner)),
            None => {
                let fixed = ServiceBuilder::new().map_request(bearer(self.token.clone())).map_err(BearerError::Inner);
                Either::Right(fixed.service(inner))
            }
        }
    }

    /// A POST of JSON, with the key that makes it safe to repeat.
    pub(crate) fn post(&self, url: &Uri, body: Bytes, key: &str, trace: &TraceContext) -> Request {
        let mut request = http::Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(IDEMPOTENCY_KEY, key)
            .body(Full::new(body))
            .expect("a task id can be a header");
        trace.put(request.headers_mut());
        request
    }

    /// Asks how it is.
    pub(crate) fn health(&self) -> Request {
        let mut request = Request::default();
        request.uri_mut().clone_from(&self.health);
        request
    }
}

/// Puts the fixed token on requests.
fn bearer(token: Option<HeaderValue>) -> impl Fn(Request) -> Request + Clone {
    move |mut request| {
        if let Some(token) = &token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        request
    }
}

/// One attempt, with its span and its metrics.
///
/// No `async` block, which would hold the request beside the call that it went into.
fn attempt<S>(
    inner: S,
    mut request: Request,
    origin: Origin,
    recent: Arc<Recent>,
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
    span.set_attribute("http.request.method", Shown(request.method()));
    span.set_attribute("url.full", Shown(request.uri()));
    if let Some(trace) = TraceContext::within(&span) {
        trace.put(request.headers_mut());
    }
    let clock = Clock::precise();
    let ending = Ending::CutOff;
    let running = Running { span: span.clone(), began: clock.now(), clock, origin, number, ending, recent };
    inner.oneshot(request).instrument(span).map(|result| running.end(result))
}

/// An attempt that runs: however it ends, its duration counts, and being cut off is a failure.
struct Running {
    span: Span,
    clock: Clock,
    began: Tick,
    origin: Origin,
    number: u32,
    /// How it ends if nothing else is said.
    ending: Ending,
    recent: Arc<Recent>,
}

impl Running {
    fn end(mut self, result: Result<Answer, BoxError>) -> Result<Answer, CallError> {
        let result = self.span.in_scope(|| judge(&self.span, result));
        self.ending = match &result {
            Ok(answer) => Ending::Status(answer.status()),
            Err(CallError::Timeout) => Ending::Timeout,
            Err(_) => Ending::Unreachable,
        };
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let took = self.clock.now().since(self.began);
        metrics::attempted(took);
        self.recent.ended(self.origin, self.number, self.ending, took);
        if self.ending == Ending::CutOff {
            fail(&self.span, "cancelled", "cut off before its answer".to_owned());
        }
    }
}

/// Says in the attempt's span how it ended.
fn judge(span: &Span, result: Result<Answer, BoxError>) -> Result<Answer, CallError> {
    match result {
        Ok(answer) => {
            let status: StatusCode = answer.status();
            span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
            if status.is_client_error() || status.is_server_error() {
                tracing::warn!(status = status.as_u16(), "the downstream answered with an error");
                fail(span, status.as_str(), status.to_string());
            }
            Ok(answer)
        }
        Err(error) if error.is::<Elapsed>() => {
            tracing::warn!("the downstream did not answer in time");
            fail(span, "timeout", "the downstream did not answer in time".to_owned());
            Err(CallError::Timeout)
        }
        Err(error) => {
            let error = causes(error.as_ref());
            tracing::warn!(error, "the downstream cannot be reached");
            fail(span, "unreachable", error);
            Err(CallError::Unreachable)
        }
    }
}
