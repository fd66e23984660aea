//! The signature layer, as a service that peers talk to.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use portcullis::signature::{Scheme, Secret, SignatureLayer, Signer, Verified, VerifiedBody};
use tower::{ServiceBuilder, ServiceExt, service_fn};

async fn echo(request: Request<VerifiedBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert!(request.extensions().get::<Verified>().is_some());
    Ok(Response::new(Full::new(request.into_body().into_bytes())))
}

#[tokio::test]
async fn a_signed_request_gets_through() {
    let secret = || Secret::new("an example of a secret").unwrap();
    let service =
        ServiceBuilder::new().layer(SignatureLayer::new(Scheme::cognigy(), secret())).service(service_fn(echo));
    let mut request = Request::new(Full::new(Bytes::from_static(b"{}")));
    Signer::new(Scheme::cognigy(), secret()).sign(request.headers_mut(), b"{}").unwrap();
    assert_eq!(service.clone().oneshot(request.clone()).await.unwrap().status(), StatusCode::OK);
    *request.body_mut() = Full::new(Bytes::from_static(b"[]"));
    assert_eq!(service.clone().oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}
