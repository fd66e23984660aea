//! What the signature layer counts.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::signature::{MemoryReplayStore, Scheme, Secret, SignatureLayer, Signer, VerifiedBody};
use tower::{Layer, ServiceExt, service_fn};

const SECRET: &str = "an example of a secret";

fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

/// A request with this body, signed for `{}`.
fn signed(body: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::from(body));
    Signer::new(Scheme::cognigy(), secret()).sign(request.headers_mut(), b"{}").unwrap();
    request
}

/// Each counter's lines, sorted, without comments.
fn counted(run: impl FnOnce(&tokio::runtime::Runtime)) -> Vec<String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    metrics::with_local_recorder(&recorder, || run(&runtime));
    let text = handle.render();
    assert!(!text.contains(SECRET), "{text}");
    let mut lines: Vec<_> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// A recorder may come after the first requests, and may be another for each thread.
#[test]
fn a_recorder_that_comes_later_counts_from_then_on() {
    let layer = SignatureLayer::new(Scheme::cognigy(), secret());
    let inner = service_fn(async |_: Request<VerifiedBody>| Ok::<_, Infallible>(Response::new(())));
    let service = layer.layer(inner);
    let both = |runtime: &tokio::runtime::Runtime| {
        for request in [signed("{}"), signed("[]")] {
            runtime.block_on(service.clone().oneshot(request)).unwrap();
        }
    };
    both(&tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());
    for _ in 0..2 {
        assert_eq!(
            counted(both),
            [
                r#"portcullis_signature_refusals_total{scheme="cognigy",reason="mismatch"} 1"#,
                r#"portcullis_signature_verified_total{scheme="cognigy",key="first"} 1"#,
            ]
        );
    }
}

#[test]
fn refusals_and_secrets_are_counted_by_labels_that_no_sender_chooses() {
    let lines = counted(|runtime| {
        let store = MemoryReplayStore::new(10).unwrap();
        let layer = SignatureLayer::new(Scheme::cognigy(), secret()).accept_credentials().refuse_replays(store);
        let inner = service_fn(async |_: Request<VerifiedBody>| Ok::<_, Infallible>(Response::new(())));
        let mut vouched = signed("{}");
        vouched.headers_mut().insert("x-api-key", HeaderValue::from_static(SECRET));
        for request in
            [signed("{}"), vouched, signed("[]"), Request::new(Full::default()), Request::new(Full::default())]
        {
            runtime.block_on(layer.layer(inner).oneshot(request)).unwrap();
        }
    });
    assert_eq!(
        lines,
        [
            r#"portcullis_signature_refusals_total{scheme="cognigy",reason="duplicate"} 1"#,
            r#"portcullis_signature_refusals_total{scheme="cognigy",reason="mismatch"} 1"#,
            r#"portcullis_signature_refusals_total{scheme="cognigy",reason="missing"} 2"#,
            r#"portcullis_signature_verified_total{scheme="cognigy",key="first"} 2"#,
        ]
    );
}
