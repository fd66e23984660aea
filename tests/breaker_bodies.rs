//! Responses that are counted once their body has ended.

use std::{
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use portcullis::{
    breaker::{Circuit, CircuitBreakerLayer, CircuitBuilder, CountedBody, HalfOpen, State},
    outcome::AsRejection,
    time::ManualClock,
};
use tower::{Layer, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// Opens after two failures in a row, for a second; one probe decides; slow after a second.
fn two_failures(clock: &ManualClock) -> CircuitBuilder {
    let half_open = HalfOpen::permits(1).timeout(60 * SECOND);
    let builder = Circuit::builder("test").consecutive_failures(2).open_for(SECOND).half_open(half_open);
    builder.slow_call(SECOND).clock(clock.clock())
}

/// What a body does when it is polled.
#[derive(Clone, Copy, Debug)]
enum Step {
    Data,
    Trailers,
    BreaksOff,
    Hangs,
    Panics,
}

/// Does what it is told; it ends with its steps.
#[derive(Debug)]
struct Scripted {
    steps: &'static [Step],
    /// Whether it says that it has ended once no steps are left.
    knows: bool,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let Some((step, rest)) = self.steps.split_first() else { return Poll::Ready(None) };
        let frame = match step {
            Step::Hangs => return Poll::Pending,
            Step::Panics => panic!("in the body"),
            Step::BreaksOff => Err("connection reset"),
            Step::Data => Ok(Frame::data(Bytes::from_static(b"data"))),
            Step::Trailers => Ok(Frame::trailers(HeaderMap::new())),
        };
        self.steps = rest;
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.knows && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(7)
    }
}

/// The body of a response with this status, through the layer.
async fn body(circuit: &Circuit, status: u16, steps: &'static [Step], knows: bool) -> CountedBody<Scripted> {
    let service = CircuitBreakerLayer::http(circuit.clone()).until_body_end().layer(service_fn(move |()| {
        let response = Response::builder().status(status).body(Scripted { steps, knows }).unwrap();
        ready(Ok::<_, &str>(response))
    }));
    service.oneshot(()).await.unwrap().into_body()
}

fn counts(circuit: &Circuit) -> (u64, u64, u64) {
    let snapshot = circuit.snapshot();
    (snapshot.calls, snapshot.failures, snapshot.slow)
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_a_failure() {
    let circuit = two_failures(&ManualClock::new()).build().unwrap();
    for failures in 1..=2 {
        let mut body = body(&circuit, 200, &[Step::Data, Step::BreaksOff], false).await;
        body.frame().await.unwrap().unwrap();
        assert_eq!(circuit.snapshot().failures, failures - 1, "it has not broken off yet");
        assert_eq!(body.frame().await.unwrap().unwrap_err(), "connection reset");
        assert_eq!(circuit.snapshot().failures, failures);
    }
    assert_eq!(circuit.snapshot().state, State::Open);
    let service = CircuitBreakerLayer::http(circuit).until_body_end();
    let service = service.layer(service_fn(async |()| Ok::<_, &str>(Response::new(Full::new(Bytes::new())))));
    assert!(service.oneshot(()).await.unwrap_err().is_rejection());
}

#[tokio::test]
async fn a_body_is_counted_once_at_its_end_whoever_says_that_it_is_over() {
    for (steps, knows, polls) in [
        (&[][..], true, 0),
        (&[], false, 1),
        (&[Step::Data], true, 1),
        (&[Step::Data, Step::Data], false, 3),
        (&[Step::Data, Step::Trailers], true, 2),
        (&[Step::Data, Step::Trailers], false, 3),
    ] {
        let circuit = two_failures(&ManualClock::new()).build().unwrap();
        let mut body = body(&circuit, 200, steps, knows).await;
        for poll in 0..polls {
            assert_eq!(circuit.snapshot().calls, 0, "{steps:?} before poll {poll}");
            let _ = body.frame().await;
        }
        assert_eq!(counts(&circuit), (1, 0, 0), "{steps:?}, {knows}");
        let _ = body.frame().await;
        drop(body);
        assert_eq!(counts(&circuit), (1, 0, 0), "{steps:?}, {knows}");
    }
}

#[tokio::test]
async fn a_bad_head_is_settled_at_once_and_once() {
    let circuit = two_failures(&ManualClock::new()).build().unwrap();
    let mut failed = body(&circuit, 503, &[Step::BreaksOff], false).await;
    assert_eq!(counts(&circuit), (1, 1, 0));
    assert!(failed.frame().await.unwrap().is_err());
    assert_eq!(counts(&circuit), (1, 1, 0));
    drop(body(&circuit, 429, &[Step::BreaksOff], false).await.collect().await);
    assert_eq!(counts(&circuit), (1, 1, 0), "ignored");
}

#[tokio::test]
async fn a_body_that_is_dropped_half_way_is_not_counted_unless_it_was_slow() {
    let clock = ManualClock::new();
    let circuit = two_failures(&clock).build().unwrap();
    let mut quick = body(&circuit, 200, &[Step::Data, Step::Hangs], false).await;
    quick.frame().await.unwrap().unwrap();
    clock.advance(SECOND);
    drop(quick);
    assert_eq!(counts(&circuit), (0, 0, 0), "for exactly the limit, which is not longer");

    let mut slow = body(&circuit, 200, &[Step::Data, Step::Hangs], false).await;
    slow.frame().await.unwrap().unwrap();
    assert!(slow.frame().now_or_never().is_none());
    clock.advance(SECOND + Duration::from_nanos(1));
    drop(slow);
    assert_eq!(counts(&circuit), (1, 1, 1));
}

#[tokio::test]
async fn the_call_lasts_until_its_body_has_ended() {
    let clock = ManualClock::new();
    let circuit = two_failures(&clock).build().unwrap();
    let body = body(&circuit, 200, &[Step::Data], false).await;
    clock.advance(2 * SECOND);
    drop(body.collect().await.unwrap());
    assert_eq!(counts(&circuit), (1, 0, 1), "slow");
}

#[tokio::test]
async fn a_probe_keeps_its_place_until_its_body_ends_or_is_dropped() {
    let clock = ManualClock::new();
    let circuit = two_failures(&clock).build().unwrap();
    for _ in 0..2 {
        circuit.acquire().unwrap().failure();
    }
    clock.advance(SECOND);
    let probe = body(&circuit, 200, &[Step::Hangs], false).await;
    assert!(circuit.acquire().is_err(), "its place is taken");
    drop(probe);
    let probe = body(&circuit, 200, &[Step::Data], false).await;
    assert_eq!(circuit.snapshot().state, State::HalfOpen);
    probe.collect().await.unwrap();
    assert_eq!(circuit.snapshot().state, State::Closed);
}

#[tokio::test]
async fn a_panicking_body_is_a_failure_and_somebody_elses_panic_is_not() {
    let circuit = two_failures(&ManualClock::new()).build().unwrap();
    let mut panics = body(&circuit, 200, &[Step::Panics], false).await;
    assert!(catch_unwind(AssertUnwindSafe(|| panics.frame().now_or_never().is_some())).is_err());
    assert_eq!(counts(&circuit), (1, 1, 0));

    let other = body(&circuit, 200, &[Step::Data], false).await;
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _other = other;
        panic!("elsewhere");
    }));
    assert!(unwound.is_err());
    assert_eq!(counts(&circuit), (1, 1, 0));
}

#[tokio::test]
async fn a_clone_of_the_service_stands_behind_the_same_circuit_and_counts_bodies_too() {
    let circuit = two_failures(&ManualClock::new()).build().unwrap();
    let service = CircuitBreakerLayer::http(circuit.clone()).until_body_end().layer(service_fn(|()| {
        ready(Ok::<_, &str>(Response::new(Scripted { steps: &[Step::BreaksOff], knows: false })))
    }));
    for failures in 1..=2 {
        let mut body = service.clone().oneshot(()).await.unwrap().into_body();
        assert_eq!(service.circuit().snapshot().failures, failures - 1);
        assert!(body.frame().await.unwrap().is_err());
        assert_eq!(service.circuit().snapshot().failures, failures);
    }
    assert_eq!(circuit.snapshot().state, State::Open);
    assert!(service.clone().oneshot(()).await.unwrap_err().is_rejection());
}

#[tokio::test]
async fn frames_and_hints_are_the_inner_bodys_own() {
    let circuit = two_failures(&ManualClock::new()).build().unwrap();
    let mut body = body(&circuit, 200, &[Step::Data, Step::Trailers], true).await;
    assert_eq!(body.size_hint().exact(), Some(7));
    assert!(!body.is_end_stream());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data");
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn a_call_that_is_dropped_before_its_head_gives_its_place_back() {
    let clock = ManualClock::new();
    let circuit = two_failures(&clock).build().unwrap();
    for _ in 0..2 {
        circuit.acquire().unwrap().failure();
    }
    clock.advance(SECOND);
    let service = CircuitBreakerLayer::http(circuit.clone())
        .until_body_end()
        .layer(service_fn(|()| pending::<Result<Response<Full<Bytes>>, &str>>()));
    let mut call = Box::pin(service.oneshot(()));
    assert!(call.as_mut().now_or_never().is_none());
    assert!(circuit.acquire().is_err());
    drop(call);
    assert!(circuit.acquire().is_ok());
}
