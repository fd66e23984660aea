//! The layer.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::Sign;
use crate::signature::Signer;

/// Signs outgoing requests: for services that send webhooks.
///
/// A signature covers the whole body, so that is gathered first, within a [cap](Self::max_body_bytes); one that is in memory
/// already is not copied. Its trailers go along, unsigned, as everything else that the scheme does not sign: look at
/// [`Signer::sign`] for what has to be in the headers before.
///
/// It belongs inside of a retry: each attempt is then signed anew, with a timestamp of its own, while the id of a message stays
/// what it was. And inside of all that changes the body, as compression does.
///
/// ```
/// use std::convert::Infallible;
/// use bytes::Bytes;
/// use http::{Request, Response, StatusCode};
/// use http_body_util::Full;
/// use portcullis::signature::{Scheme, Secret, SignLayer, SignatureLayer, Signer, VerifiedBody};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::BoxError> {
/// let secret = Secret::new("an example of a secret")?;
/// let client = ServiceBuilder::new()
///     .layer(SignLayer::new(Signer::new(Scheme::stripe(), secret.clone())))
///     // In place of a network: whoever receives it verifies it.
///     .layer(SignatureLayer::new(Scheme::stripe(), secret))
///     .service(service_fn(async |request: Request<VerifiedBody>| {
///         Ok::<_, Infallible>(Response::new(request.into_body().into_bytes()))
///     }));
/// let response = client.oneshot(Request::new(Full::new(Bytes::from("{}")))).await?;
/// assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, &b"{}"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct SignLayer {
    signer: Arc<Signer>,
    max_body: usize,
}

impl SignLayer {
    /// Signs with `signer`.
    pub fn new(signer: Signer) -> Self {
        Self { signer: Arc::new(signer), max_body: 1024 * 1024 }
    }

    /// The largest body that is signed, in bytes; a larger one is an error, and is not sent. Default: 1 MiB.
    pub const fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }
}

impl<S> Layer<S> for SignLayer {
    type Service = Sign<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Sign::new(inner, Arc::clone(&self.signer), self.max_body)
    }
}

impl fmt::Debug for SignLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignLayer").field("signer", &self.signer).field("max_body_bytes", &self.max_body).finish()
    }
}
