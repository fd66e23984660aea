//! The retry layer, seen from outside.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use portcullis::{
    BoxError,
    retry::{Attempt, Attempts, Backoff, Jitter, RetryLayer, RetryPolicy, Stopped},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[tokio::test(start_paused = true)]
async fn a_get_is_tried_again_until_it_succeeds() -> Result<(), BoxError> {
    let calls = Arc::new(AtomicU32::new(0));
    let seen = calls.clone();
    let policy = RetryPolicy::http()
        .max_attempts(3)
        .backoff(Backoff::exponential(Duration::from_secs(2), Duration::from_secs(30)).jitter(Jitter::None))
        .build()?;
    let mut service =
        ServiceBuilder::new().layer(RetryLayer::new(policy)).service(service_fn(move |request: Request<String>| {
            let call = seen.fetch_add(1, Ordering::Relaxed);
            assert_eq!(request.extensions().get::<Attempt>().unwrap().number(), call);
            let status = if call < 2 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            async move { Ok::<_, BoxError>(Response::builder().status(status).body(()).unwrap()) }
        }));
    let start = tokio::time::Instant::now();
    let response = service.ready().await?.call(Request::new(String::new())).await?;
    assert_eq!(response.status(), 200);
    assert_eq!(start.elapsed(), Duration::from_secs(6));
    let attempts = response.extensions().get::<Attempts>().unwrap();
    assert_eq!((attempts.count(), attempts.stopped()), (3, None));
    calls.store(0, Ordering::Relaxed);
    let response = service.ready().await?.call(Request::post("/").body(String::new())?).await?;
    assert_eq!(response.extensions().get::<Attempts>().unwrap().stopped(), Some(Stopped::NotRepeatable));
    Ok(())
}
