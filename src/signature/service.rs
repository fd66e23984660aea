//! The service: judges the headers, and leaves the rest to its future.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    body::{VerifiedBody, declares_more},
    future::ResponseFuture,
    refusal::{Refusal, RefusalKind, Refuse},
    replay::ReplayStore,
    settings::Settings,
    verify::Check,
};

/// Verifies requests before the inner service sees them; made by [`SignatureLayer`](super::SignatureLayer).
///
/// It is always ready, and holds no place of the inner service while a body drips in that proved nothing yet: once a request
/// is verified, a clone of the inner service is made ready and called. So the inner service has to be `Clone`, its waiting
/// shows in the response and not in `poll_ready`, and a bound on the number of requests belongs outside of this.
pub struct VerifySignature<S, R, P> {
    inner: S,
    settings: Arc<Settings<R, P>>,
}

impl<S, R, P> VerifySignature<S, R, P> {
    pub(super) const fn new(inner: S, settings: Arc<Settings<R, P>>) -> Self {
        Self { inner, settings }
    }
}

impl<S, R, P, ReqB, ResB> Service<Request<ReqB>> for VerifySignature<S, R, P>
where
    S: Service<Request<VerifiedBody>, Response = Response<ResB>> + Clone,
    ReqB: Body,
    R: Refuse<ResB>,
    P: ReplayStore,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqB, R, P>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (settings, (head, body)) = (&self.settings, request.into_parts());
        let common = &settings.common;
        let (keys, now) = common.verifier.keys();
        let mut check = Check::new(&keys, now);
        let replays = settings.replays.is_some();
        let kind = match common.verifier.check(&mut check, keys, now, &head.headers, &head.extensions, replays) {
            Ok(()) if declares_more(&head.headers, &body, common.max_body) => RefusalKind::BodyTooLarge,
            Ok(()) => return ResponseFuture::reading(Arc::clone(settings), check, head, body, self.inner.clone()),
            Err(reason) => reason.into(),
        };
        ResponseFuture::refused(Arc::clone(settings), Refusal::new(kind))
    }
}

impl<S: Clone, R, P> Clone for VerifySignature<S, R, P> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.settings))
    }
}

impl<S: fmt::Debug, R, P> fmt::Debug for VerifySignature<S, R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifySignature").field("inner", &self.inner).field("settings", &self.settings).finish()
    }
}
