//! The contract of tower: readiness, clones, dropped futures.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use portcullis::{
    BoxError,
    signature::{MemoryReplayStore, Scheme, SignatureLayer, VerifiedBody},
};
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::support::{Inner, Script, Step, layer, secret, signed};

const CONTENT: &[u8] = b"{}";

fn good() -> Request<Full<Bytes>> {
    signed(CONTENT, Full::new(Bytes::from_static(CONTENT)))
}

fn hanging() -> Request<Script> {
    signed(CONTENT, Script::new([Step::Data(Bytes::from_static(CONTENT)), Step::Hang]))
}

fn poll<F: Future + ?Sized>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn readiness_does_not_touch_the_inner_service() {
    let inner = Inner::default();
    let counts = Arc::clone(&inner.counts);
    let mut service = layer().layer(inner);
    for _ in 0..3 {
        let ready = Service::<Request<Script>>::poll_ready(&mut service, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(ready, Poll::Ready(Ok(()))));
    }
    // A refused request does not either.
    let response = service.call(Request::new(Script::default())).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!((counts.clones.load(Relaxed), counts.readied.load(Relaxed), counts.calls.load(Relaxed)), (0, 0, 0));

    let response = service.call(signed(CONTENT, Script::frames(CONTENT, 1))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!((counts.clones.load(Relaxed), counts.readied.load(Relaxed), counts.calls.load(Relaxed)), (1, 1, 1));
}

/// `ConcurrencyLimit` and `Buffer` panic when a clone of theirs is called that was never polled ready.
#[tokio::test]
async fn no_clone_is_called_that_was_not_polled_ready() {
    let mut limited = ServiceBuilder::new().layer(layer()).concurrency_limit(1).service(Inner::default());
    for _ in 0..3 {
        assert_eq!(
            ServiceExt::<Request<Full<Bytes>>>::ready(&mut limited).await.unwrap().call(good()).await.unwrap().status(),
            StatusCode::OK
        );
        assert_eq!(limited.clone().oneshot(good()).await.unwrap().status(), StatusCode::OK);
    }

    let mut buffered = ServiceBuilder::new().layer(layer()).buffer(1).service(Inner::default());
    for _ in 0..3 {
        let response: Result<Response<Bytes>, BoxError> =
            ServiceExt::<Request<Full<Bytes>>>::ready(&mut buffered).await.unwrap().call(good()).await;
        assert_eq!(response.unwrap().status(), StatusCode::OK);
        assert_eq!(buffered.clone().oneshot(good()).await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn many_at_once_share_one_place() {
    let (inside, most, calls) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let counts = (Arc::clone(&inside), Arc::clone(&most), Arc::clone(&calls));
    let slow = service_fn(move |_: Request<VerifiedBody>| {
        let (inside, most, calls) = counts.clone();
        async move {
            most.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
            // Others get their chance to come in too.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            inside.fetch_sub(1, Relaxed);
            calls.fetch_add(1, Relaxed);
            Ok::<_, Infallible>(Response::new(Bytes::new()))
        }
    });
    for (places, expected) in [(1, 1), (20, 20)] {
        let service = ServiceBuilder::new().layer(layer()).concurrency_limit(places).service(slow.clone());
        let all = (0..20).map(|_| tokio::spawn(service.clone().oneshot(good()))).collect::<Vec<_>>();
        for one in all {
            assert_eq!(one.await.unwrap().unwrap().status(), StatusCode::OK);
        }
        assert_eq!(most.swap(0, Relaxed), expected, "{places} places");
    }
    assert_eq!((calls.load(Relaxed), inside.load(Relaxed)), (40, 0));
}

#[tokio::test]
async fn a_body_that_drips_in_holds_no_place_of_the_inner_service() {
    let mut service = ServiceBuilder::new().layer(layer()).concurrency_limit(1).service(Inner::default());
    let mut dripping = pin!(service.call(hanging()));
    assert!(poll(dripping.as_mut()).is_pending());
    let response = service.clone().oneshot(good()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(poll(dripping).is_pending());
}

/// Answers when it is let to, and has one place.
fn gated(
    gate: &Arc<Semaphore>,
) -> impl Service<Request<VerifiedBody>, Response = Response<Bytes>, Error = Infallible> + Clone {
    let gate = Arc::clone(gate);
    let answer = service_fn(move |request: Request<VerifiedBody>| {
        let gate = Arc::clone(&gate);
        async move {
            let _place = gate.acquire().await;
            Ok(Response::new(request.into_body().into_bytes()))
        }
    });
    ServiceBuilder::new().concurrency_limit(1).service(answer)
}

#[tokio::test]
async fn a_future_dropped_at_any_stage_frees_its_place() {
    let gate = Arc::new(Semaphore::new(0));
    let mut service = layer().layer(gated(&gate));

    drop(service.call(good()));

    let mut calling = Box::pin(service.call(good()));
    assert!(poll(calling.as_mut()).is_pending());
    let mut waiting = Box::pin(service.call(good()));
    assert!(poll(waiting.as_mut()).is_pending());
    let mut reading = Box::pin(service.call(hanging()));
    assert!(poll(reading.as_mut()).is_pending());
    drop((waiting, reading, calling));

    gate.add_permits(1);
    for _ in 0..2 {
        let mut done = Box::pin(service.call(good()));
        assert_eq!(done.as_mut().await.unwrap().status(), StatusCode::OK);
        drop(done);
    }
}

#[tokio::test]
async fn the_inner_services_errors_are_passed_on() {
    #[derive(Clone)]
    struct Broken {
        ready: bool,
    }

    impl Service<Request<VerifiedBody>> for Broken {
        type Response = Response<Bytes>;
        type Error = &'static str;
        type Future = std::future::Ready<Result<Response<Bytes>, &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(if self.ready { Ok(()) } else { Err("not ready") })
        }

        fn call(&mut self, _: Request<VerifiedBody>) -> Self::Future {
            std::future::ready(Err("not well"))
        }
    }

    assert_eq!(layer().layer(Broken { ready: false }).oneshot(good()).await.unwrap_err(), "not ready");
    assert_eq!(layer().layer(Broken { ready: true }).oneshot(good()).await.unwrap_err(), "not well");
}

/// The request is verified by then, and waits for a place.
#[tokio::test]
async fn an_inner_service_that_breaks_while_it_is_waited_for_is_not_called_and_its_error_is_passed_on() {
    #[derive(Clone)]
    struct BreaksLater {
        polls: Arc<AtomicUsize>,
    }

    impl Service<Request<VerifiedBody>> for BreaksLater {
        type Response = Response<Bytes>;
        type Error = &'static str;
        type Future = std::future::Ready<Result<Response<Bytes>, &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            match self.polls.fetch_add(1, Relaxed) {
                0 => Poll::Pending,
                _ => Poll::Ready(Err("broke down")),
            }
        }

        fn call(&mut self, _: Request<VerifiedBody>) -> Self::Future {
            panic!("called without being ready")
        }
    }

    for refuses_replays in [false, true] {
        let polls = Arc::new(AtomicUsize::new(0));
        let inner = BreaksLater { polls: Arc::clone(&polls) };
        let store = MemoryReplayStore::new(1).unwrap();
        let mut call = if refuses_replays {
            layer().refuse_replays(store.clone()).layer(inner).oneshot(good()).boxed()
        } else {
            layer().layer(inner).oneshot(good()).boxed()
        };
        assert!(poll(call.as_mut()).is_pending());
        assert_eq!((polls.load(Relaxed), store.len()), (1, usize::from(refuses_replays)));
        assert_eq!(call.await.unwrap_err(), "broke down");
        assert_eq!((polls.load(Relaxed), store.len()), (2, 0), "it may come again");
    }
}

/// A layer that only leaves a note for the handler protects nothing when the handler forgets to look.
#[tokio::test]
async fn the_layer_itself_refuses() {
    let forgetful =
        service_fn(async |_: Request<VerifiedBody>| Ok::<_, Infallible>(Response::new(Bytes::from("done"))));
    let unsigned = Request::new(Full::new(Bytes::from_static(CONTENT)));
    let response = layer().layer(forgetful).oneshot(unsigned).await.unwrap();
    assert_eq!((response.status(), response.body().len()), (StatusCode::UNAUTHORIZED, 0));
}

/// One mapper's answers are of the inner service's kind, and it decides the status.
#[tokio::test]
async fn refusals_are_mapped() {
    let layer = SignatureLayer::new(Scheme::cognigy(), secret()).refuse_with(|refusal| {
        Response::builder().status(refusal.status()).body(Bytes::from(r#"{"error":"invalid_signature"}"#)).unwrap()
    });
    let response = layer.layer(Inner::default()).oneshot(Request::new(Script::default())).await.unwrap();
    assert_eq!(response.body(), r#"{"error":"invalid_signature"}"#);
}

#[test]
fn what_can_be_sent_stays_sendable() {
    fn sendable<T: Send + Sync + 'static>(_: &T) {}
    fn future<T: Send + 'static>(_: &T) {}

    let mut service = layer().layer(Inner::default());
    sendable(&layer());
    sendable(&service);
    future(&service.call(Request::new(Full::new(Bytes::new()))));
}
