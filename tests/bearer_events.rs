//! The events of the bearer layer, and what they do not tell. Alone in its process: whether an event is wanted is known to
//! all threads of one, and late.

#[path = "support/log.rs"]
mod log;

use std::time::Duration;

use http::{Request, Response, header::AUTHORIZATION};
use log::Log;
use portcullis::{
    BoxError,
    bearer::{BearerLayer, Token},
    time::ManualClock,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::Level;

const SECRET: &str = "s3cr3t";

#[tokio::test]
async fn what_happens_is_told_and_no_token_is_shown() {
    let log = Log::default();
    let _listening = log.listen(Level::TRACE);
    let clock = ManualClock::new();
    let mut fetches = 0;
    let source = service_fn(move |()| {
        fetches += 1;
        std::future::ready(match fetches {
            3.. => Err(BoxError::from("the token server is down")),
            number => Token::new(format!("{SECRET}-{number}"))
                .map(|token| token.expires_in(Duration::from_secs(100)))
                .map_err(Into::into),
        })
    });
    let layer = BearerLayer::builder(source).clock(clock.clock()).random(|| 0.0);
    let layer = layer.build().unwrap();
    let mut service = layer.layer(service_fn(async |request: Request<()>| {
        tracing::trace!(?request, headers = ?request.headers(), "sent");
        let status = if request.headers()[AUTHORIZATION] == format!("Bearer {SECRET}-1") { 401 } else { 200 };
        Ok::<_, BoxError>(Response::builder().status(status).body(()).unwrap())
    }));

    service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    let told = log.take();
    let events: Vec<_> = told.lines().filter(|line| line.contains("portcullis")).collect();
    let [first, refused, second] = events[..] else { panic!("{told}") };
    assert!(first.contains("DEBUG") && first.contains("token fetched generation=1 lifetime=100s"), "{first}");
    assert!(refused.contains("token refused generation=1 repeat=true"), "{refused}");
    assert!(second.contains("token fetched generation=2"), "{second}");
    assert!(!told.contains(SECRET), "{told}");

    clock.advance(Duration::from_secs(80));
    let future = service.ready().await.unwrap().call(Request::new(()));
    let shown = format!("{future:?}");
    future.await.unwrap();
    let told = log.take();
    let failed = told.lines().find(|line| line.contains("portcullis")).unwrap();
    assert!(failed.contains("WARN"), "{failed}");
    assert!(failed.contains("token not fetched error=the token server is down old_is_good=true"), "{failed}");
    assert!(!told.contains(SECRET), "{told}");

    clock.advance(Duration::from_secs(20));
    let error = service.ready().await.unwrap().call(Request::new(())).await.unwrap_err();
    let told = log.take();
    assert!(told.contains("old_is_good=false"), "{told}");
    let token = Token::new(SECRET).unwrap();
    let shown = format!("{shown} {layer:?} {service:?} {error:?} {error} {token:?}");
    assert!(!shown.contains(SECRET), "{shown}");
}
