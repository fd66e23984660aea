//! `Verified` as an extractor of axum's. Alone in its process, and one test: whether an event is wanted is known to all
//! threads of one, and late.

#[path = "support/log.rs"]
mod log;

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    routing::post,
};
use http::{HeaderValue, Request, Response, StatusCode};
use log::Log;
use portcullis::signature::{Scheme, Secret, SignatureLayer, Signer, Verified};
use tower::ServiceExt;
use tracing::Level;

fn secret() -> Secret {
    Secret::new("an example of a secret").unwrap()
}

async fn webhook(verified: Verified, body: Bytes) -> String {
    format!("{} {} {}", verified.scheme(), verified.key_label(), body.len())
}

fn routes() -> Router {
    Router::new().route("/", post(webhook))
}

fn unsigned() -> Request<Body> {
    Request::post("/").body(Body::from("{}")).unwrap()
}

async fn answer(routes: Router, request: Request<Body>) -> (StatusCode, Bytes) {
    let (head, body) = Response::into_parts(routes.oneshot(request).await.unwrap());
    (head.status, to_bytes(body, 1000).await.unwrap())
}

#[tokio::test]
async fn a_handler_that_wants_proof_is_not_reached_without_the_layer() {
    let log = Log::default();
    let _listening = log.listen(Level::WARN);
    let layer = SignatureLayer::new(Scheme::github(), secret());
    let mut signed = unsigned();
    Signer::new(Scheme::github(), secret()).sign(signed.headers_mut(), b"{}").unwrap();

    let (status, body) = answer(routes().layer(layer.clone()), signed).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"github first 2"[..]));
    assert_eq!(answer(routes().layer(layer), unsigned()).await, (StatusCode::UNAUTHORIZED, Bytes::new()));
    assert_eq!(log.take(), "");

    // Whatever a peer sends, it is no proof.
    let mut pretended = unsigned();
    for name in ["verified", "x-verified", "x-signature-verified"] {
        pretended.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    assert_eq!(answer(routes(), pretended).await, (StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()));
    let told = log.take();
    assert!(told.contains("ERROR") && told.contains("no `SignatureLayer` around its route"), "{told}");
}
