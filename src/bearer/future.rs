//! The future: the call, and after a 401 a new token and the repeat.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    BearerError, NoToken, Token,
    cache::{Cache, Usable, Waiting},
};
use crate::{BoxError, copy::CopyRequest, replay::reclaim, trace::event};

pin_project! {
    /// The response of a [`Bearer`](super::Bearer) service.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, T, C, B>
    where
        S: Service<Request<B>>,
        T: Service<()>,
    {
        #[pin]
        state: State<S::Future, T>,
        // What is sent next; none where the running call is the last.
        again: Option<Again<S, B>>,
        // Fetches the next token beside the call.
        refresh: Option<Waiting<T>>,
        generation: u64,
        repeat: bool,
        cache: Arc<Cache<T>>,
        copy: C,
    }
}

/// Marks a request that is sent once more after a 401, in its extensions; what the first one held is there as well.
///
/// An inner service can tell by it that this is an exchange of its own and not a retry:
///
/// ```
/// use http::{Request, Response};
/// use portcullis::{BoxError, bearer::{BearerLayer, Repeated, Token}};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let source = service_fn(async |()| Ok::<_, BoxError>(Token::new("mF_9.B5f-4.1JqM")?));
/// let client = BearerLayer::new(source).layer(service_fn(async |request: Request<()>| {
///     let status = if request.extensions().get::<Repeated>().is_some() { 200 } else { 401 };
///     Ok::<_, BoxError>(Response::builder().status(status).body(())?)
/// }));
/// assert_eq!(client.oneshot(Request::new(())).await?.status(), 200);
/// # Ok::<(), BoxError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Repeated;

/// A request, and the service for it.
pub(super) struct Again<S, B> {
    pub(super) service: S,
    pub(super) request: Request<B>,
}

pin_project! {
    #[project = StateProj]
    enum State<F, T>
    where
        T: Service<()>,
    {
        // There is no token yet, or the one before was refused.
        Waiting { waiting: Waiting<T> },
        // There is one, and the service has to become ready.
        Readying { token: Option<Usable> },
        Calling { #[pin] future: F },
        Failed { error: Option<NoToken> },
    }
}

/// A token is waited for only with something to send.
const AGAIN: &str = "polled after completion";

impl<S, T, C, B> ResponseFuture<S, T, C, B>
where
    S: Service<Request<B>>,
    T: Service<()>,
{
    /// A request that goes with this token, by a service that is ready; `copied` is what is left for a repeat.
    pub(super) fn calling(
        future: S::Future,
        copied: Option<Again<S, B>>,
        token: &Usable,
        cache: &Arc<Cache<T>>,
        copy: C,
    ) -> Self {
        let refresh = token.due.then(|| Waiting::new(cache, token.generation));
        let (generation, cache) = (token.generation, Arc::clone(cache));
        Self { state: State::Calling { future }, again: copied, refresh, generation, repeat: false, cache, copy }
    }

    /// A request that has to wait for a token, or for its service.
    pub(super) fn waiting(again: Again<S, B>, cache: &Arc<Cache<T>>, copy: C) -> Self {
        let state = match cache.usable() {
            Ok(token) => State::Readying { token: Some(token) },
            Err(generation) => State::Waiting { waiting: Waiting::new(cache, generation) },
        };
        let cache = Arc::clone(cache);
        Self { state, again: Some(again), refresh: None, generation: 0, repeat: false, cache, copy }
    }

    pub(super) fn failed(error: NoToken, cache: &Arc<Cache<T>>, copy: C) -> Self {
        let (state, cache) = (State::Failed { error: Some(error) }, Arc::clone(cache));
        Self { state, again: None, refresh: None, generation: 0, repeat: false, cache, copy }
    }
}

/// Puts the token on a request.
pub(super) fn put<B>(request: &mut Request<B>, token: &Usable) {
    request.headers_mut().insert(AUTHORIZATION, token.header.clone());
}

impl<S, T, C, B, ResB> Future for ResponseFuture<S, T, C, B>
where
    S: Service<Request<B>, Response = Response<ResB>>,
    T: Service<(), Response = Token>,
    T::Error: Into<BoxError>,
    C: CopyRequest<Request<B>>,
{
    type Output = Result<Response<ResB>, BearerError<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Waiting { waiting } => {
                    let token = ready!(waiting.poll(cx))?;
                    this.state.set(State::Readying { token: Some(token) });
                }
                StateProj::Readying { token } => {
                    let again = this.again.as_mut().expect(AGAIN);
                    ready!(again.service.poll_ready(cx)).map_err(BearerError::Inner)?;
                    let token = token.take().expect(AGAIN);
                    let Again { mut service, mut request } = this.again.take().expect(AGAIN);
                    let copied = if *this.repeat { None } else { this.copy.copy(&request) };
                    put(&mut request, &token);
                    *this.generation = token.generation;
                    *this.refresh = token.due.then(|| Waiting::new(this.cache, token.generation));
                    this.state.set(State::Calling { future: service.call(request) });
                    *this.again = copied.map(|request| Again { service, request });
                }
                StateProj::Calling { future } => {
                    // Before the call, which may end at once: the next token has to be asked for by somebody.
                    if this.refresh.as_mut().is_some_and(|refresh| refresh.poll(cx).is_ready()) {
                        *this.refresh = None;
                    }
                    let response = ready!(future.poll(cx)).map_err(BearerError::Inner)?;
                    if response.status() != StatusCode::UNAUTHORIZED {
                        return Poll::Ready(Ok(response));
                    }
                    // Also where there is nothing to repeat: the token is no better for that.
                    let worth = this.cache.refused(*this.generation);
                    // Last, since the refused call reads no more of a body that can be sent again.
                    let again = this.again.as_mut().filter(|again| worth && reclaim(again.request.extensions()));
                    event!(DEBUG, "token refused", generation = *this.generation, repeat = again.is_some());
                    let Some(again) = again else { return Poll::Ready(Ok(response)) };
                    // The refused call lets go of what it holds before the next token is waited for.
                    drop(response);
                    let waiting = Waiting::new(this.cache, *this.generation);
                    this.state.set(State::Waiting { waiting });
                    *this.repeat = true;
                    again.request.extensions_mut().insert(Repeated);
                }
                StateProj::Failed { error } => return Poll::Ready(Err(error.take().expect(AGAIN).into())),
            }
        }
    }
}

impl<S: Service<Request<B>>, T: Service<()>, C, B> fmt::Debug for ResponseFuture<S, T, C, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
