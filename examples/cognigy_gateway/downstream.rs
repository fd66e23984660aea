//! The stack that calls the downstream, outermost layer first: retry, breaker, token, span and metrics, timeout.
//!
//! The innermost service reads the whole answer within its bound, so that every layer judges the complete one.

use std::time::Duration;

use http::{HeaderValue, Uri, header};
use portcullis::{
    BoxError, ConfigError,
    bearer::BearerError,
    breaker::{BreakerError, Circuit, CircuitBreakerLayer},
    outcome::{AsRejection, Classify, Http, Outcome},
    retry::{RetryError, RetryLayer},
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    layer::layer_fn,
    service_fn,
    util::{BoxCloneSyncService, Either},
};

use crate::{
    attempt::attempt,
    exchange::{Answer, Client, Request, exchange},
    oauth::{self, Tokens},
    policies::retries,
    recent::{Origin, Recent},
    settings::{BaseUrl, Hidden, Settings},
    shutdown::pause,
};

/// How often a failing token server is asked where no call does.
const TOKEN_PAUSE: Duration = Duration::from_millis(500);

pub(crate) type Failed = RetryError<BreakerError<CallError>>;
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
    pub(crate) recent: Recent,
}

impl Downstream {
    /// `http` is for the downstream, `others` for the token server.
    pub(crate) fn new(settings: &Settings, base: &BaseUrl, http: Client, others: Client) -> Self {
        Self {
            lookup: base.join("/v1/customer/lookup"),
            process: base.join("/v2/process/cognigy"),
            health: base.join("/v2/health"),
            token: settings.downstream_bearer_token.as_ref().and_then(Hidden::bearer),
            tokens: oauth::tokens(settings, others),
            http,
            timeout: settings.downstream_timeout,
            max_bytes: settings.downstream_max_bytes.get(),
            recent: Recent::default(),
        }
    }

    /// Calls that are repeated until `deadline`, each attempt through `circuit`.
    pub(crate) fn client(
        &'static self,
        settings: &Settings,
        circuit: &Circuit,
        origin: Origin,
        deadline: Duration,
    ) -> Result<
        impl Service<Request, Response = Answer, Error = Failed, Future: Send> + Clone + Send + Sync + use<>,
        ConfigError,
    > {
        let recent = &self.recent;
        let attempts = ServiceBuilder::new()
            .layer(layer_fn(move |inner| {
                service_fn(move |request| attempt(Clone::clone(&inner), request, origin, recent))
            }))
            .service(self.exchange());
        Ok(ServiceBuilder::new()
            .layer(RetryLayer::new(retries(settings).deadline(deadline).build()?))
            .map_err(move |error| {
                if matches!(error, BreakerError::Rejected(_)) {
                    recent.rejected(origin);
                }
                error
            })
            // What the circuit's readiness waits for, which is the token, is waited for within the deadline.
            .layer(layer_fn(|inner| service_fn(move |request| ServiceExt::oneshot(Clone::clone(&inner), request))))
            .layer(CircuitBreakerLayer::new(circuit.clone()).classify(outcome))
            .map_err(CallError::from)
            .service(self.authorized(attempts)))
    }

    /// Single calls that the circuit does not see.
    pub(crate) fn direct(&self) -> Direct {
        BoxCloneSyncService::new(self.authorized(self.exchange()))
    }

    /// One exchange within its limits.
    fn exchange(
        &self,
    ) -> impl Service<Request, Response = Answer, Error = BoxError, Future: Send> + Clone + Send + Sync + use<> {
        ServiceBuilder::new().timeout(self.timeout).service(exchange(self.http, self.max_bytes))
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
