//! A webhook of axum's that nobody reaches without a signature.
//!
//! `cargo run --example axum_webhook`: a server and its sender, on a port of this machine.

use axum::{Router, body::Bytes, routing::post};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use portcullis::{
    BoxError,
    signature::{Scheme, Secret, SignLayer, SignatureLayer, Signer, Verified},
};
use tower::{ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer};

/// `Verified` is what the layer leaves behind: on a route without the layer, this is not called.
async fn order(verified: Verified, body: Bytes) -> String {
    format!("{} bytes from {}, signed with {}", body.len(), verified.scheme(), verified.key_label())
}

fn app(secret: Secret) -> Router {
    // The bound on concurrency outside: each request that is not proven yet may take the cap in memory.
    let webhooks = ServiceBuilder::new()
        .layer(GlobalConcurrencyLimitLayer::new(64))
        .layer(SignatureLayer::new(Scheme::github(), secret).max_body_bytes(64 * 1024));
    Router::new().route("/order", post(order)).route_layer(webhooks).route("/forgotten", post(order))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let secret = Secret::new("an example of a secret")?.label("2026");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, app(secret.clone())).into_future());

    let post = |path: &str, body: &'static str| Request::post(format!("http://{address}{path}")).body(Full::from(body));
    let plain = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();

    // What a sender of yours does: the same secret, and a layer that signs.
    let signing = ServiceBuilder::new()
        .layer(SignLayer::new(Signer::new(Scheme::github(), secret.clone())))
        .service(Client::builder(TokioExecutor::new()).build_http());
    let response = signing.oneshot(post("/order", r#"{"tea":2}"#)?).await?;
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.into_body().collect().await?.to_bytes();
    assert_eq!(text, "9 bytes from github, signed with 2026");
    println!("signed: {}", String::from_utf8_lossy(&text));

    // Nobody learns from the answer what was wrong.
    let unsigned = plain.request(post("/order", "{}")?).await?;
    assert_eq!(unsigned.status(), StatusCode::UNAUTHORIZED);
    println!("not signed: {}", unsigned.status());

    let mut tampered = post("/order", r#"{"tea":99}"#)?;
    Signer::new(Scheme::github(), secret.clone()).sign(tampered.headers_mut(), br#"{"tea":2}"#)?;
    let tampered = plain.request(tampered).await?;
    assert_eq!(tampered.status(), StatusCode::UNAUTHORIZED);
    println!("changed on its way: {}", tampered.status());

    // The layer was forgotten here, and the handler does not answer.
    let mut signed = post("/forgotten", "{}")?;
    Signer::new(Scheme::github(), secret).sign(signed.headers_mut(), b"{}")?;
    let forgotten = plain.request(signed).await?;
    assert_eq!(forgotten.status(), StatusCode::INTERNAL_SERVER_ERROR);
    println!("on a route without the layer: {}", forgotten.status());
    Ok(())
}
