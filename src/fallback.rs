//! A fallback: an answer in place of an error, or of a response that is as bad as one.
//!
//! Use it where the caller is better served by less than by nothing: a cached value, a default, a polite refusal.
//!
//! ```
//! use http::{Response, StatusCode};
//! use portcullis::{BoxError, fallback::FallbackLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let sorry = |why: Result<Response<&'static str>, BoxError>| match why {
//!     Ok(response) if response.status() == StatusCode::UNAUTHORIZED => Ok(response),
//!     Ok(_) | Err(_) => Ok::<_, BoxError>(Response::new("an agent will call you back")),
//! };
//! let mut service = ServiceBuilder::new().layer(FallbackLayer::http(sorry)).service(service_fn(async |status: u16| {
//!     Ok(Response::builder().status(status).body("from the service")?)
//! }));
//!
//! let mut ask = async |status| Ok::<_, BoxError>(*service.ready().await?.call(status).await?.body());
//! assert_eq!(ask(200).await?, "from the service");
//! assert_eq!(ask(503).await?, "an agent will call you back");
//! assert_eq!(ask(401).await?, "from the service");
//! assert_eq!(ask(0).await?, "an agent will call you back");
//! # Ok::<(), BoxError>(())
//! # }).unwrap();
//! ```
//!
//! # When it answers
//!
//! The closure is given every error, and every response that the classifier does not call a success; what it returns is the
//! result of the call, an error of its own included. It gets them by value, so it can hand back what it has no answer to.
//! It runs at most once a call, not on success, and not when the call is dropped.
//!
//! An error from the inner service's readiness is kept for the next call, which is answered with it without reaching the
//! inner service: this layer is always ready where the inner one failed.
//!
//! # Order
//!
//! Outermost, around retry and breaker. Those have judged the real results by then, so that a fallback never makes a failing
//! service look well, and it is asked only when all else has failed.
//!
//! # What it costs
//!
//! A clone of the closure and of the classifier a call. The request is not copied, so the closure does not see it: what
//! it needs to know is captured, or put into the response or error further in.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::outcome::{Classify, Http, Outcome, Results};

/// Answers in place of the inner service where that failed: see the [module](self).
#[must_use]
pub struct FallbackLayer<F, Err, C = Results> {
    answer: F,
    classify: C,
    error: PhantomData<fn() -> Err>,
}

impl<F, Err> FallbackLayer<F, Err> {
    /// Gives every error to `answer`, as `Err`; every response passes, over HTTP a `500` too.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use portcullis::{BoxError, fallback::FallbackLayer};
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let mut greeting = ServiceBuilder::new()
    ///     .layer(FallbackLayer::new(|why: Result<&'static str, BoxError>| Ok::<_, Infallible>(why.unwrap_or("hello"))))
    ///     .service(service_fn(async |()| Err::<&'static str, BoxError>("no such language".into())));
    /// assert_eq!(greeting.ready().await?.call(()).await?, "hello");
    /// # Ok::<(), Infallible>(())
    /// # }).unwrap();
    /// ```
    pub const fn new<Res, Err2>(answer: F) -> Self
    where
        F: Fn(Result<Res, Err>) -> Result<Res, Err2>,
    {
        Self { answer, classify: Results, error: PhantomData }
    }
}

impl<F, Err> FallbackLayer<F, Err, Http> {
    /// Gives `answer` every error, and every response that [`Http`] does not call a success.
    pub const fn http<Res, Err2>(answer: F) -> Self
    where
        F: Fn(Result<Res, Err>) -> Result<Res, Err2>,
    {
        Self { answer, classify: Http, error: PhantomData }
    }
}

impl<F, Err, C> FallbackLayer<F, Err, C> {
    /// Gives `answer` every response that `classify` does not call a success. Errors it gets in any case.
    pub fn classify<C2>(self, classify: C2) -> FallbackLayer<F, Err, C2> {
        FallbackLayer { answer: self.answer, classify, error: PhantomData }
    }
}

impl<S, F: Clone, Err, C: Clone> Layer<S> for FallbackLayer<F, Err, C> {
    type Service = Fallback<S, F, Err, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Fallback { inner, answer: self.answer.clone(), classify: self.classify.clone(), failed: None }
    }
}

/// Answers in place of the inner service: see [`FallbackLayer`].
pub struct Fallback<S, F, Err, C = Results> {
    inner: S,
    answer: F,
    classify: C,
    /// What the inner service said when it should have become ready; the next call is answered with it.
    failed: Option<Err>,
}

impl<S, F, Err, C, Req, Err2> Service<Req> for Fallback<S, F, Err, C>
where
    S: Service<Req, Error = Err>,
    F: Fn(Result<S::Response, Err>) -> Result<S::Response, Err2> + Clone,
    C: Classify<S::Response, Err> + Clone,
{
    type Response = S::Response;
    type Error = Err2;
    type Future = ResponseFuture<S::Future, F, Err, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Err2>> {
        if self.failed.is_none() {
            self.failed = ready!(self.inner.poll_ready(cx)).err();
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let state = match self.failed.take() {
            Some(error) => State::Failed { error: Some(error) },
            None => State::Calling { future: self.inner.call(request) },
        };
        ResponseFuture { state, answer: self.answer.clone(), classify: self.classify.clone() }
    }
}

pin_project! {
    /// The response of a [`Fallback`] service.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<Fut, F, Err, C> {
        #[pin]
        state: State<Fut, Err>,
        answer: F,
        classify: C,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<Fut, Err> {
        Calling { #[pin] future: Fut },
        // The service did not become ready.
        Failed { error: Option<Err> },
    }
}

impl<Fut, F, Res, Err, Err2, C> Future for ResponseFuture<Fut, F, Err, C>
where
    Fut: Future<Output = Result<Res, Err>>,
    F: Fn(Result<Res, Err>) -> Result<Res, Err2>,
    C: Classify<Res, Err>,
{
    type Output = Result<Res, Err2>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.state.project() {
            StateProj::Calling { future } => ready!(future.poll(cx)),
            StateProj::Failed { error } => Err(error.take().expect("a future is not polled once it has ended")),
        };
        Poll::Ready(match result {
            Ok(response) if this.classify.classify(Ok(&response)) == Outcome::Success => Ok(response),
            result => (this.answer)(result),
        })
    }
}

impl<F: Clone, Err, C: Clone> Clone for FallbackLayer<F, Err, C> {
    fn clone(&self) -> Self {
        Self { answer: self.answer.clone(), classify: self.classify.clone(), error: PhantomData }
    }
}

impl<F, Err, C: fmt::Debug> fmt::Debug for FallbackLayer<F, Err, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer").field("classify", &self.classify).finish_non_exhaustive()
    }
}

/// A clone has not been polled, so it knows of no failure.
impl<S: Clone, F: Clone, Err, C: Clone> Clone for Fallback<S, F, Err, C> {
    fn clone(&self) -> Self {
        let Self { inner, answer, classify, failed: _ } = self;
        Self { inner: inner.clone(), answer: answer.clone(), classify: classify.clone(), failed: None }
    }
}

impl<S: fmt::Debug, F, Err, C: fmt::Debug> fmt::Debug for Fallback<S, F, Err, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("inner", &self.inner).field("classify", &self.classify).finish_non_exhaustive()
    }
}

impl<Fut, F, Err, C> fmt::Debug for ResponseFuture<Fut, F, Err, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
