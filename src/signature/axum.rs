//! For handlers of axum: what they cannot be reached without.

use axum_core::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};

use super::Verified;
use crate::trace::event;

/// A handler that takes [`Verified`] is never called without it: on a route without a
/// [`SignatureLayer`](super::SignatureLayer) every request is answered 500, and an event at `ERROR` says which layer is missing.
///
/// It comes from the request's extensions, where the layer alone puts it; no header stands for it, so no peer can send
/// anything that looks alike.
///
/// ```
/// use axum::{Router, body::{Body, Bytes}, routing::post};
/// use http::{Request, StatusCode};
/// use portcullis::signature::{Scheme, Secret, SignatureLayer, Signer, Verified};
/// use tower::ServiceExt;
///
/// async fn webhook(verified: Verified, body: Bytes) -> String {
///     format!("{} bytes, signed with {}", body.len(), verified.key_label())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = Secret::new("an example of a secret")?;
/// let mut request = Request::post("/webhook").body(Body::from("{}"))?;
/// Signer::new(Scheme::github(), secret.clone()).sign(request.headers_mut(), b"{}")?;
/// let layer = SignatureLayer::new(Scheme::github(), secret);
///
/// let app: Router = Router::new().route("/webhook", post(webhook)).layer(layer);
/// assert_eq!(app.oneshot(request).await?.status(), StatusCode::OK);
///
/// let forgotten: Router = Router::new().route("/webhook", post(webhook));
/// let request = Request::post("/webhook").body(Body::from("{}"))?;
/// assert_eq!(forgotten.oneshot(request).await?.status(), StatusCode::INTERNAL_SERVER_ERROR);
/// # Ok(())
/// # }
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> FromRequestParts<S> for Verified {
    type Rejection = NotVerified;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotVerified> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            event!(ERROR, "a handler wants `Verified`, and there is no `SignatureLayer` around its route");
            NotVerified(())
        })
    }
}

/// A handler wanted [`Verified`], and the request did not come through a [`SignatureLayer`](super::SignatureLayer).
///
/// As a response it is 500 with an empty body: it is this server's mistake, and no business of the peer's.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub struct NotVerified(());

impl std::fmt::Display for NotVerified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the route has no signature layer")
    }
}

impl std::error::Error for NotVerified {}

impl IntoResponse for NotVerified {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    }
}
