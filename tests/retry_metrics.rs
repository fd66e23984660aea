//! What retries count with feature `metrics`.

use std::{future::pending, time::Duration};

use http::{Request, Response};
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::{
    BoxError,
    retry::{Attempt, Backoff, Budget, RetryLayer, RetryPolicy, RetryPolicyBuilder},
};
use tower::{Layer, ServiceExt, service_fn};

/// Answers 503, then fails, then hangs; after that it is well.
async fn unwell(request: Request<()>) -> Result<Response<()>, BoxError> {
    match request.extensions().get::<Attempt>().unwrap().number() {
        0 => Ok(Response::builder().status(503).body(())?),
        1 => Err("connection reset".into()),
        2 => pending().await,
        _ => Ok(Response::new(())),
    }
}

async fn get(policy: RetryPolicyBuilder) {
    let policy = policy.build().unwrap();
    let _ = RetryLayer::new(policy).layer(service_fn(unwell)).oneshot(Request::new(())).await;
}

async fn calls() {
    let second = Duration::from_secs(1);
    let policy = || RetryPolicy::http().backoff(Backoff::constant(second)).attempt_timeout(second);
    get(policy().max_attempts(4)).await;
    get(policy().max_attempts(2)).await;
    get(policy().max_attempts(1)).await;
    get(policy().deadline(second)).await;
    let budget = Budget::builder().share(0.0).reserve(1).build().unwrap();
    get(policy().budget(budget.clone())).await;
    assert!(budget.try_withdraw().is_none());
}

#[test]
fn retries_giving_up_and_refusals_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let counted = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(calls()));
    let counted = counted.render();
    let mut lines: Vec<_> = counted.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    lines.sort_unstable();
    let expected = [
        r#"portcullis_retries_total{cause="503"} 3"#,
        r#"portcullis_retries_total{cause="error"} 1"#,
        r#"portcullis_retries_total{cause="timeout"} 1"#,
        r#"portcullis_retry_budget_refusals_total 2"#,
        r#"portcullis_retry_giveups_total{reason="budget_exhausted"} 1"#,
        r#"portcullis_retry_giveups_total{reason="deadline"} 1"#,
        r#"portcullis_retry_giveups_total{reason="exhausted"} 2"#,
    ];
    assert_eq!(lines, expected);
}
