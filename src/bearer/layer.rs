//! The layer.

use std::{
    fmt,
    future::{Future, poll_fn},
    sync::Arc,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Bearer, BearerBuilder, NoToken, Token, cache::Cache};
use crate::{BoxError, outcome::Http};

/// Puts a bearer token on requests: see the [module](super).
///
/// All services that one layer makes, and those of its clones, share one token and one source.
#[must_use]
pub struct BearerLayer<T: Service<()>, C = Http> {
    cache: Arc<Cache<T>>,
    copy: C,
}

impl<T: Service<()>> BearerLayer<T> {
    /// A layer whose tokens come from `source`, with the settings as they are by default.
    ///
    /// ```
    /// use http::{Request, Response, header::AUTHORIZATION};
    /// use portcullis::{BoxError, bearer::{BearerLayer, Token}};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let source = service_fn(async |()| Ok::<_, BoxError>(Token::new("mF_9.B5f-4.1JqM")?));
    /// let client = BearerLayer::new(source).layer(service_fn(async |request: Request<()>| {
    ///     Ok::<_, BoxError>(Response::new(request.headers()[AUTHORIZATION].clone()))
    /// }));
    ///
    /// let seen = client.oneshot(Request::new(())).await?.into_body();
    /// assert_eq!(seen, "Bearer mF_9.B5f-4.1JqM");
    /// assert!(seen.is_sensitive());
    /// # Ok::<(), BoxError>(())
    /// # }).unwrap();
    /// ```
    pub fn new(source: T) -> Self {
        BearerBuilder::new(source).unchecked()
    }

    /// Begins a layer with settings of its own.
    pub fn builder(source: T) -> BearerBuilder<T> {
        BearerBuilder::new(source)
    }
}

impl<T: Service<()>, C> BearerLayer<T, C> {
    pub(super) const fn from_parts(cache: Arc<Cache<T>>, copy: C) -> Self {
        Self { cache, copy }
    }

    /// Waits until there is a token that is good, like a service that becomes ready.
    ///
    /// For those who would else take something while they wait: a health probe its place in a half-open circuit, a program its
    /// share of the traffic.
    ///
    /// ```
    /// use portcullis::{BoxError, bearer::{BearerLayer, Token}};
    /// use tower::service_fn;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let tokens = BearerLayer::new(service_fn(async |()| Err::<Token, BoxError>("the token server is down".into())));
    /// assert_eq!(tokens.ready().await.unwrap_err().to_string(), "no token: the token server is down");
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The source's error, where it fails, or has failed and is left alone.
    pub fn ready(&self) -> impl Future<Output = Result<(), NoToken>> + use<T, C>
    where
        T: Service<(), Response = Token>,
        T::Error: Into<BoxError>,
    {
        let (cache, mut waiting) = (Arc::clone(&self.cache), None);
        poll_fn(move |cx| cache.poll_ready(&mut waiting, cx))
    }
}

impl<S, T: Service<()>, C: Clone> Layer<S> for BearerLayer<T, C> {
    type Service = Bearer<S, T, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Bearer::new(inner, Arc::clone(&self.cache), self.copy.clone())
    }
}

impl<T: Service<()>, C: Clone> Clone for BearerLayer<T, C> {
    fn clone(&self) -> Self {
        Self::from_parts(Arc::clone(&self.cache), self.copy.clone())
    }
}

impl<T: Service<()>, C> fmt::Debug for BearerLayer<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerLayer").finish_non_exhaustive()
    }
}
