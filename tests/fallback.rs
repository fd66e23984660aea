//! The fallback layer as a tower service, and the fallback scenarios of `tests/data/scenarios.json`.

mod support;

use std::{
    cell::Cell,
    convert::Infallible,
    future::{pending, ready},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use futures_util::{FutureExt, future::BoxFuture};
use http::Response;
use portcullis::{
    BoxError,
    breaker::{BreakerError, Circuit, CircuitBreakerLayer, State},
    fallback::FallbackLayer,
    outcome::{Http, Outcome},
};
use serde_json::Value;
use support::Strict;
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, limit::ConcurrencyLimitLayer, util::BoxService,
};

type Answer = Response<&'static str>;

fn status(status: u16) -> Answer {
    Response::builder().status(status).body("real").unwrap()
}

// ===== when it answers =====

#[tokio::test]
async fn errors_are_answered_and_responses_pass() {
    let mut service = FallbackLayer::new(|why: Result<Answer, BoxError>| {
        Ok::<_, Infallible>(
            why.unwrap_or_else(|error| Response::new(if error.is::<http::Error>() { "?" } else { "!" })),
        )
    })
    .layer(Strict::new(|code: u16| ready(Ok(status(code)))));
    assert_eq!(*service.ready().await.unwrap().call(500).await.unwrap().body(), "real");

    let failing = Strict::new(|()| ready(Err::<Answer, BoxError>("down".into())));
    let mut service =
        FallbackLayer::new(|_: Result<Answer, BoxError>| Ok::<_, Infallible>(Response::new("instead"))).layer(failing);
    assert_eq!(*service.ready().await.unwrap().call(()).await.unwrap().body(), "instead");
}

#[tokio::test]
async fn the_http_table_says_which_responses_are_bad() {
    let layer = FallbackLayer::http(|_: Result<Answer, BoxError>| Ok::<_, Infallible>(Response::new("instead")));
    let mut service = layer.layer(Strict::new(|code: u16| ready(Ok(status(code)))));
    for (code, body) in
        [(200, "real"), (302, "real"), (404, "real"), (401, "instead"), (429, "instead"), (503, "instead")]
    {
        assert_eq!(*service.ready().await.unwrap().call(code).await.unwrap().body(), body, "{code}");
    }
}

#[tokio::test]
async fn what_the_closure_has_no_answer_to_it_hands_back() {
    let layer = FallbackLayer::new(|why: Result<Answer, BoxError>| match why {
        Err(error) if error.to_string() == "mine" => Ok(Response::new("instead")),
        other => other,
    })
    .classify(|result: Result<&Answer, &BoxError>| match result {
        Ok(response) if response.status() == 418 => Outcome::Failure,
        _ => Outcome::Success,
    });
    let mut service = layer.layer(Strict::new(|error: &'static str| {
        ready(if error.is_empty() { Ok(status(418)) } else { Err(BoxError::from(error)) })
    }));
    assert_eq!(*service.ready().await.unwrap().call("mine").await.unwrap().body(), "instead");
    assert_eq!(service.ready().await.unwrap().call("theirs").await.unwrap_err().to_string(), "theirs");
    assert_eq!(service.ready().await.unwrap().call("").await.unwrap().status(), 418);
}

// ===== tower's contract =====

/// Fails to become ready while there are failures left.
#[derive(Clone)]
struct Weak {
    failures: Rc<Cell<u32>>,
    ready: bool,
}

impl Service<()> for Weak {
    type Response = &'static str;
    type Error = &'static str;
    type Future = std::future::Ready<Result<&'static str, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.ready = self.failures.get() == 0;
        self.failures.set(self.failures.get().saturating_sub(1));
        Poll::Ready(if self.ready { Ok(()) } else { Err("not ready") })
    }

    fn call(&mut self, (): ()) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being polled ready");
        ready(Ok("real"))
    }
}

#[tokio::test]
async fn an_error_from_readiness_is_answered_by_the_next_call() {
    let failures = Rc::new(Cell::new(1));
    let mut service = FallbackLayer::new(|why: Result<_, &'static str>| Ok::<_, Infallible>(why.unwrap_err()))
        .layer(Weak { failures: Rc::clone(&failures), ready: false });
    // Polled twice before it is called: the failure is not lost, and the inner service is not asked behind its back.
    service.ready().await.unwrap();
    assert_eq!(service.ready().await.unwrap().call(()).await, Ok("not ready"));
    assert_eq!(service.ready().await.unwrap().call(()).await, Ok("real"));
}

#[tokio::test]
async fn a_clone_knows_of_no_failure() {
    let inner = Weak { failures: Rc::new(Cell::new(1)), ready: false };
    let mut service =
        FallbackLayer::new(|why: Result<_, &'static str>| Ok::<_, Infallible>(why.unwrap_err())).layer(inner);
    service.ready().await.unwrap();
    let mut clone = service.clone();
    assert_eq!(clone.ready().await.unwrap().call(()).await, Ok("real"));
    assert_eq!(service.call(()).await, Ok("not ready"), "the failure is this one's");
}

#[tokio::test]
async fn it_stands_over_a_limit_and_a_buffer() {
    let mut service = ServiceBuilder::new()
        .layer(FallbackLayer::new(|_: Result<Answer, BoxError>| Ok::<_, Infallible>(Response::new("instead"))))
        .layer(BufferLayer::new(1))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Strict::new(|fails: bool| ready(if fails { Err("down") } else { Ok(status(200)) })));
    for (fails, body) in [(false, "real"), (true, "instead"), (false, "real")] {
        assert_eq!(*service.ready().await.unwrap().call(fails).await.unwrap().body(), body);
    }
}

/// The bounds are none but the inner service's own: neither it nor the request is `Clone`, `Send` or `'static`.
#[test]
fn it_asks_no_more_of_the_inner_service_than_tower_does() {
    struct Request<'a>(&'a Cell<u32>);
    let cell = Cell::new(0);
    let mut service = FallbackLayer::new(|why: Result<u32, Rc<()>>| why)
        .layer(Weakly(|request: Request<'_>| ready(Ok::<_, Rc<()>>(request.0.get()))));
    service.ready().now_or_never().unwrap().unwrap();
    assert_eq!(service.call(Request(&cell)).now_or_never().unwrap(), Ok(0));
}

/// A function as a service that is not `Clone`.
struct Weakly<F>(F);

impl<F: FnMut(Req) -> Fut, Req, Fut: Future<Output = Result<Res, Err>>, Res, Err> Service<Req> for Weakly<F> {
    type Response = Res;
    type Error = Err;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Err>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Fut {
        (self.0)(request)
    }
}

// ===== defects that must not come back =====

#[tokio::test]
async fn a_hundred_callers_do_not_wait_for_one_that_was_dropped() {
    let inner =
        Strict::new(
            |hangs: bool| {
                if hangs { pending().boxed() } else { ready(Err::<Answer, BoxError>("down".into())).boxed() }
            },
        );
    let service =
        FallbackLayer::new(|_: Result<Answer, BoxError>| Ok::<_, Infallible>(Response::new("instead"))).layer(inner);
    let mut first = Box::pin(service.clone().oneshot(true));
    assert!(first.as_mut().now_or_never().is_none());
    for _ in 0..100 {
        assert_eq!(*service.clone().oneshot(false).now_or_never().unwrap().unwrap().body(), "instead");
    }
}

#[tokio::test]
async fn a_request_is_never_copied() {
    struct Counted(Arc<AtomicUsize>);
    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, SeqCst);
            Self(Arc::clone(&self.0))
        }
    }
    let copies = Arc::new(AtomicUsize::new(0));
    let layer = FallbackLayer::http(|_: Result<Answer, BoxError>| Ok::<_, Infallible>(Response::new("instead")));
    let mut service = layer.layer(Strict::new(|(code, _): (u16, Counted)| ready(Ok(status(code)))));
    for code in [200, 503] {
        service.ready().await.unwrap().call((code, Counted(Arc::clone(&copies)))).await.unwrap();
    }
    assert_eq!(copies.load(SeqCst), 0);
}

// ===== the scenarios =====

/// The error that the scenarios call `E1`, and others.
type Named = String;
type Inner = BoxFuture<'static, Result<Response<String>, Named>>;

#[tokio::test]
async fn every_scenario_holds() {
    let file: Value = serde_json::from_str(include_str!("data/scenarios.json")).unwrap();
    let mut held = 0;
    for scenario in file["scenarios"].as_array().unwrap() {
        if scenario["group"] == "fallback" {
            check(scenario).await;
            held += 1;
        }
    }
    assert_eq!(held, 5, "a scenario was added, or one no longer runs");
}

/// `ok:503` or `err:E1`, as the file writes results.
fn result(text: &str) -> Result<Response<String>, Named> {
    match text.split_once(':').unwrap() {
        ("ok", status) => {
            let code = status.parse().unwrap_or(200);
            Ok(Response::builder().status(code).body(status.to_owned()).unwrap())
        }
        ("err", name) => Err(name.to_owned()),
        other => panic!("unknown result {other:?}"),
    }
}

fn written(result: Result<Response<String>, Named>) -> String {
    result.map_or_else(|error| format!("err:{error}"), |response| format!("ok:{}", response.into_body()))
}

async fn check(scenario: &Value) {
    let id = scenario["id"].as_str().unwrap();
    let config = &scenario["config"];
    assert_eq!(config["handles_ok"], "status>=500", "{id}");
    let handled: Vec<Named> = serde_json::from_value(config["handles"].clone()).unwrap();
    let instead = config["fallback"].as_str().unwrap().to_owned();

    let answered = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&answered);
    let answer = move |why: Result<Response<String>, Named>| match why {
        Err(error) if !handled.contains(&error) => Err(error),
        _ => {
            counter.fetch_add(1, SeqCst);
            result(&instead)
        }
    };
    let inner = Strict::new(|request: String| -> Inner {
        if request == "pending" { pending().boxed() } else { ready(result(&request)).boxed() }
    });
    let calls = inner.calls();
    let circuit = config["breaker"]["consecutive"].as_u64().map(|failures| {
        assert_eq!(config["order"], "fallback(breaker(inner))", "{id}");
        Circuit::builder("scenario").consecutive_failures(u32::try_from(failures).unwrap()).build().unwrap()
    });
    let mut service: BoxService<String, Response<String>, Named> = match &circuit {
        Some(circuit) => BoxService::new(
            ServiceBuilder::new()
                .layer(FallbackLayer::http(answer))
                .map_err(|error: BreakerError<Named>| match error {
                    BreakerError::Inner(error) => error,
                    BreakerError::Rejected(rejected) => rejected.to_string(),
                })
                .layer(CircuitBreakerLayer::http(circuit.clone()))
                .service(inner),
        ),
        None => BoxService::new(FallbackLayer::new(answer).classify(Http).layer(inner)),
    };

    let mut ended = String::new();
    for step in scenario["steps"].as_array().unwrap() {
        assert!(step["expect"].is_null(), "{id}: what is expected of a step");
        let request = step["inner"].as_str().unwrap().to_owned();
        match step["op"].as_str().unwrap() {
            "invoke" => {
                for _ in 0..step["repeat"].as_u64().unwrap_or(1) {
                    ended = written(service.ready().await.unwrap().call(request.clone()).await);
                }
            }
            "invoke_and_cancel" => {
                let call = service.ready().await.unwrap().call(request);
                assert!(pin!(call).now_or_never().is_none(), "{id}");
                "cancelled".clone_into(&mut ended);
            }
            op => panic!("{id}: unknown operation {op}"),
        }
    }
    for (key, expected) in scenario["expect"].as_object().unwrap() {
        match key.as_str() {
            "result" => assert_eq!(ended, expected.as_str().unwrap(), "{id}"),
            "inner_calls" => assert_eq!(Some(calls.load(SeqCst) as u64), expected.as_u64(), "{id}"),
            "fallback_calls" => assert_eq!(Some(answered.load(SeqCst) as u64), expected.as_u64(), "{id}"),
            // The layer tells nobody, so that there is nothing to be told on success.
            "events" => assert_eq!(expected.as_array().map(Vec::len), Some(0), "{id}"),
            "breaker_state" => {
                let open = circuit.as_ref().unwrap().snapshot().state == State::Open;
                assert_eq!(open, expected == "OPEN", "{id}");
            }
            "breaker_failures" => {
                assert_eq!(Some(circuit.as_ref().unwrap().snapshot().failures), expected.as_u64(), "{id}");
            }
            _ => panic!("{id}: unknown expectation {key}"),
        }
    }
}
