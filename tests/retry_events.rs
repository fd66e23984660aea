//! The events of retries. Alone in its process: whether an event is wanted is known to all threads of one, and late.

#[path = "support/log.rs"]
mod log;

use std::time::Duration;

use http::{Request, Response};
use log::Log;
use portcullis::{
    BoxError,
    retry::{Backoff, Budget, RetryLayer, RetryPolicy},
};
use tower::{Layer, ServiceExt, service_fn};
use tracing::Level;

#[tokio::test(start_paused = true)]
async fn retries_and_giving_up_are_told() {
    let log = Log::default();
    let _listening = log.listen(Level::DEBUG);
    let policy =
        RetryPolicy::http().max_attempts(2).backoff(Backoff::constant(Duration::from_secs(1))).build().unwrap();
    let inner = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::builder().status(503).body(()).unwrap()));
    RetryLayer::new(policy).layer(inner).oneshot(Request::new(())).await.unwrap();
    let policy = RetryPolicy::http().deadline(Duration::from_secs(1)).build().unwrap();
    let hangs = service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, BoxError>>());
    RetryLayer::new(policy).layer(hangs).oneshot(Request::new(())).await.unwrap_err();
    let empty = Budget::builder().share(0.0).reserve(0).build().unwrap();
    let policy = RetryPolicy::http().budget(empty).build().unwrap();
    RetryLayer::new(policy).layer(inner).oneshot(Request::new(())).await.unwrap();
    let told = log.take();
    let mut told = told.lines();
    let retrying = told.next().unwrap();
    assert!(retrying.contains("retrying attempts=1 wait=1s cause=503"), "{retrying}");
    let giving_up = told.next().unwrap();
    assert!(giving_up.contains(r#"giving up attempts=2 reason="exhausted""#), "{giving_up}");
    let cut = told.next().unwrap();
    assert!(cut.contains(r#"giving up attempts=1 reason="deadline""#), "{cut}");
    let refused = told.next().unwrap();
    assert!(refused.contains(r#"giving up attempts=1 reason="budget_exhausted""#), "{refused}");
    assert_eq!(told.next(), None);
}
