//! What retry and bearer make of it.

use std::{
    future::{pending, ready},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use portcullis::{
    BoxError,
    bearer::{BearerLayer, Token},
    retry::{
        AttemptTimedOut, Attempts, Backoff, CopyRequest, NotReplayed, ReplayBody, ReplayLayer, RetryLayer, RetryPolicy,
        RetryPolicyBuilder, Stopped,
    },
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{service::Strict, support::*};

const CAP: usize = 1 << 20;

fn policy() -> RetryPolicyBuilder {
    RetryPolicy::http().backoff(Backoff::constant(Duration::from_secs(1)))
}

/// How much of the body the service reads before it answers, and what it does with the rest of it.
#[derive(Clone, Copy)]
enum Reads {
    /// So many frames, and drops the rest.
    Frames(usize),
    /// So many frames, and holds on to the rest.
    Holds(usize),
    /// So many frames, and never answers.
    Stalls(usize),
    All,
}

type Answer = BoxFuture<'static, Result<Response<()>, BoxError>>;

/// A service that answers each attempt as told, and notes what it has read of its body.
#[derive(Clone, Default)]
struct Server {
    read: Arc<Mutex<Vec<Vec<u8>>>>,
    held: Arc<Mutex<Vec<ReplayBody<Script>>>>,
}

impl Server {
    fn service(
        &self,
        does: &'static [(Reads, u16)],
    ) -> impl Service<Request<ReplayBody<Script>>, Response = Response<()>, Error = BoxError, Future = Answer> + Clone + use<>
    {
        let (server, calls) = (self.clone(), Arc::new(AtomicUsize::new(0)));
        Strict::new(move |request: Request<ReplayBody<Script>>| {
            let server = server.clone();
            let (reads, status) = does[calls.fetch_add(1, SeqCst)];
            async move {
                let mut body = request.into_body();
                let mut data = Vec::new();
                let frames = match reads {
                    Reads::Frames(frames) | Reads::Holds(frames) | Reads::Stalls(frames) => frames,
                    Reads::All => usize::MAX,
                };
                for _ in 0..frames {
                    let Some(frame) = body.frame().await else { break };
                    data.extend_from_slice(&frame.map_err(BoxError::from)?.into_data().unwrap());
                }
                server.read.lock().unwrap().push(data);
                if let Reads::Stalls(_) = reads {
                    pending::<()>().await;
                }
                if let Reads::Holds(_) = reads {
                    server.held.lock().unwrap().push(body);
                }
                Ok(Response::builder().status(status).body(())?)
            }
            .boxed()
        })
    }

    fn read(&self) -> Vec<String> {
        self.read.lock().unwrap().iter().map(|data| String::from_utf8(data.clone()).unwrap()).collect()
    }
}

fn stopped(response: &Response<()>) -> (u32, Option<Stopped>) {
    let attempts = response.extensions().get::<Attempts>().unwrap();
    (attempts.count(), attempts.stopped())
}

async fn put(
    cap: usize,
    policy: RetryPolicyBuilder,
    server: &Server,
    does: &'static [(Reads, u16)],
    body: Script,
) -> Result<Response<()>, BoxError> {
    let client = ServiceBuilder::new()
        .map_err(BoxError::from)
        .layer(ReplayLayer::new(cap))
        .layer(RetryLayer::new(policy.build().unwrap()))
        .service(server.service(does));
    client.oneshot(Request::put("/").body(body).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_end_of_the_body_can_be_retried() {
    let server = Server::default();
    let does = &[(Reads::Frames(0), 503), (Reads::Frames(1), 503), (Reads::All, 200)];
    let response = put(CAP, policy(), &server, does, Script::of(["one ", "two ", "three"])).await.unwrap();
    assert_eq!((response.status().as_u16(), stopped(&response)), (200, (3, None)));
    assert_eq!(server.read(), ["", "one ", "one two three"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_outgrew_the_cap_ends_the_retries_with_the_real_response() {
    let server = Server::default();
    let does = &[(Reads::All, 503)];
    let response = put(6, policy(), &server, does, Script::of(["one ", "two"])).await.unwrap();
    assert_eq!((response.status().as_u16(), stopped(&response)), (503, (1, Some(Stopped::NotRepeatable))));
    assert_eq!(server.read(), ["one two"]);

    // The copy was made before the first byte was read; only what had passed when the answer came is asked about.
    let server = Server::default();
    let does = &[(Reads::Frames(1), 503), (Reads::All, 503)];
    let response = put(6, policy(), &server, does, Script::of(["one ", "two"])).await.unwrap();
    assert_eq!((response.status().as_u16(), stopped(&response)), (503, (2, Some(Stopped::NotRepeatable))));
    assert_eq!(server.read(), ["one ", "one two"]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_cut_in_the_middle_of_its_body_can_be_retried() {
    let policy = || policy().attempt_timeout(Duration::from_secs(2));
    let server = Server::default();
    let does = &[(Reads::Stalls(1), 200), (Reads::All, 200)];
    let response = put(CAP, policy(), &server, does, Script::of(["one ", "two ", "three"])).await.unwrap();
    assert_eq!((response.status().as_u16(), stopped(&response)), (200, (2, None)));
    assert_eq!(server.read(), ["one ", "one two three"]);

    let server = Server::default();
    let error = put(6, policy(), &server, &[(Reads::Stalls(2), 200)], Script::of(["one ", "two"])).await.unwrap_err();
    assert!(error.is::<AttemptTimedOut>(), "{error}");
}

/// As a connection does that goes on with the upload after an early answer.
#[tokio::test(start_paused = true)]
async fn a_body_in_somebodys_hands_is_over_once_the_retry_is_decided() {
    let server = Server::default();
    let does = &[(Reads::Holds(1), 503), (Reads::All, 200)];
    let mut call = Box::pin(put(6, policy(), &server, does, Script::of(["one ", "two ", "three"])));
    assert!(call.as_mut().now_or_never().is_none(), "waits a second");
    // It would outgrow the cap now, and nobody could send it again.
    let mut held = server.held.lock().unwrap().pop().unwrap();
    assert_eq!(poll(&mut held), Got::Refused(NotReplayed::Superseded));
    assert_eq!(call.await.unwrap().status(), 200);
    assert_eq!(server.read(), ["one ", "one two three"]);
}

/// It might wait for ever: what comes of the original body is the next attempt's.
#[tokio::test(start_paused = true)]
async fn a_body_that_waits_in_somebodys_hands_is_woken_once_the_retry_is_decided() {
    let (woken, held) = (Arc::<Woken>::default(), Arc::<Mutex<Vec<_>>>::default());
    let (waker, hands) = (Waker::from(Arc::clone(&woken)), Arc::clone(&held));
    let inner = service_fn(move |request: Request<ReplayBody<Script>>| {
        let mut body = request.into_body();
        assert_eq!(poll_with(&mut body, &waker), Got::Waits);
        hands.lock().unwrap().push(body);
        ready(Ok::<_, BoxError>(Response::builder().status(503).body(()).unwrap()))
    });
    let service = ReplayLayer::new(CAP).layer(RetryLayer::new(policy().build().unwrap()).layer(inner));
    let mut call = Box::pin(service.oneshot(Request::put("/").body(Script::new([Says::Waits])).unwrap()));
    assert!(call.as_mut().now_or_never().is_none(), "waits a second");
    assert_eq!(woken.times(), 1);
    assert_eq!(poll(&mut held.lock().unwrap()[0]), Got::Refused(NotReplayed::Superseded));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_retried_the_upload_goes_on() {
    let cases: [(u16, RetryPolicyBuilder, _); 4] = [
        (200, policy(), None),
        (501, policy(), Some(Stopped::NotRetryable)),
        (503, policy().max_attempts(1), Some(Stopped::Exhausted)),
        (503, policy().deadline(Duration::from_secs(1)), Some(Stopped::Deadline)),
    ];
    for (status, policy, why) in cases {
        let server = Server::default();
        let does = Vec::leak(vec![(Reads::Holds(1), status)]);
        let response = put(CAP, policy, &server, does, Script::of(["one ", "two"])).await.unwrap();
        assert_eq!((response.status().as_u16(), stopped(&response)), (status, (1, why)));
        let mut held = server.held.lock().unwrap().pop().unwrap();
        assert_eq!(rest(&mut held), (b"two".to_vec(), Got::End));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_ends_the_retries_with_its_error() {
    let server = Server::default();
    let does = &[(Reads::Frames(1), 503), (Reads::All, 200)];
    let error = put(CAP, policy(), &server, does, Script::new([Says::data("one"), Says::Fails])).await.unwrap_err();
    assert_eq!(error.downcast::<io::Error>().unwrap().to_string(), "the disk is gone");
    assert_eq!(server.read(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_inside_another_is_asked_too_and_so_is_one_that_a_function_copies() {
    for by_hand in [false, true] {
        let inner = Strict::new(|request: Request<Limited<ReplayBody<Script>>>| async move {
            request.into_body().collect().await?;
            Ok::<_, BoxError>(Response::builder().status(503).body(())?)
        });
        let limit = |request: Request<ReplayBody<Script>>| request.map(|body| Limited::new(body, CAP));
        let layers = ServiceBuilder::new().layer(ReplayLayer::new(3)).map_request(limit);
        let request = Request::put("/").body(Script::of(["one ", "two"])).unwrap();
        let response = if by_hand {
            let copy = |request: &Request<Limited<ReplayBody<Script>>>| Some(request.clone());
            let policy = policy().copy_with(copy).build().unwrap();
            layers.layer(RetryLayer::new(policy)).service(inner).oneshot(request).await
        } else {
            layers.layer(RetryLayer::new(policy().build().unwrap())).service(inner).oneshot(request).await
        };
        assert_eq!(stopped(&response.unwrap()), (1, Some(Stopped::NotRepeatable)), "{by_hand}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_once_is_not_kept() {
    let frame = Bytes::from(vec![1; 8192]);
    for (method, attempts) in [(Method::POST, 3), (Method::PUT, 1)] {
        let script = Script::new([Says::Data(frame.clone()), Says::Waits]);
        let inner = service_fn(|request: Request<ReplayBody<Script>>| {
            let mut body = request.into_body();
            drop(poll(&mut body));
            ready(Ok::<_, BoxError>(Response::new(body)))
        });
        let policy = policy().max_attempts(attempts).build().unwrap();
        let service = ReplayLayer::new(CAP).layer(RetryLayer::new(policy).layer(inner));
        let request = Request::builder().method(method).uri("/").body(script).unwrap();
        let _response = service.oneshot(request).await.unwrap();
        assert!(frame.is_unique());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_clone_needs_no_layer() {
    let read = Arc::<Mutex<Vec<Bytes>>>::default();
    let inner = service_fn(|request: Request<Full<Bytes>>| async {
        let data = request.into_body().collect().await.unwrap().to_bytes();
        read.lock().unwrap().push(data);
        Ok::<_, BoxError>(Response::builder().status(503).body(())?)
    });
    let service = RetryLayer::new(policy().build().unwrap()).layer(inner);
    let response = service.oneshot(Request::put("/").body(Full::from("all of it")).unwrap()).await.unwrap();
    assert_eq!(stopped(&response), (3, Some(Stopped::Exhausted)));
    assert_eq!(*read.lock().unwrap(), ["all of it"; 3]);
}

#[tokio::test(start_paused = true)]
async fn towers_own_retry_asks_too() {
    for (cap, attempts) in [(CAP, 3), (6, 1)] {
        let server = Server::default();
        let does = &[(Reads::All, 503), (Reads::All, 503), (Reads::All, 503)];
        let service = ReplayLayer::new(cap)
            .layer(tower::retry::RetryLayer::new(policy().build().unwrap()).layer(server.service(does)));
        let response = service.oneshot(Request::put("/").body(Script::of(["one ", "two"])).unwrap()).await.unwrap();
        assert_eq!((response.status().as_u16(), server.read()), (503, vec!["one two".to_owned(); attempts]));
    }
}

#[tokio::test(start_paused = true)]
async fn the_repeat_after_a_401_replays_too_and_leaves_the_copy_of_the_retry_alone() {
    for (cap, does, ended, read) in [
        (CAP, &[(Reads::Frames(1), 401), (Reads::All, 200)][..], (200, 1), 2),
        (6, &[(Reads::All, 401)][..], (401, 1), 1),
        // Refused, repeated, and then busy: a retry sends it for the third time.
        (CAP, &[(Reads::Frames(1), 401), (Reads::Frames(2), 503), (Reads::All, 200)][..], (200, 2), 3),
    ] {
        let server = Server::default();
        let source = service_fn(async |()| Ok::<_, BoxError>(Token::new("mF_9.B5f-4.1JqM")?));
        let client = ServiceBuilder::new()
            .layer(ReplayLayer::new(cap))
            .layer(RetryLayer::new(policy().build().unwrap()))
            .map_err(BoxError::from)
            .layer(BearerLayer::new(source))
            .service(server.service(does));
        let response = client.oneshot(Request::put("/").body(Script::of(["one ", "two"])).unwrap()).await.unwrap();
        assert_eq!((response.status().as_u16(), stopped(&response).0), ended);
        assert_eq!((server.read().len(), server.read().pop().unwrap()), (read, "one two".to_owned()));
    }
}

/// Something in between has read the body, and put another in its place.
#[tokio::test(start_paused = true)]
async fn a_request_that_was_given_another_body_is_not_held_to_the_first() {
    let inner = service_fn(|_: Request<Full<Bytes>>| {
        ready(Ok::<_, BoxError>(Response::builder().status(503).body(()).unwrap()))
    });
    let retry = RetryLayer::new(policy().build().unwrap()).layer(inner);
    let between = service_fn(move |request: Request<ReplayBody<Script>>| {
        let retry = retry.clone();
        async move {
            let (parts, body) = request.into_parts();
            let whole = body.collect().await?.to_bytes();
            retry.oneshot(Request::from_parts(parts, Full::new(whole))).await.map_err(BoxError::from)
        }
    });
    let service = ReplayLayer::new(0).layer(between);
    let response = service.oneshot(Request::put("/").body(Script::of(["one ", "two"])).unwrap()).await.unwrap();
    assert_eq!(stopped(&response), (3, Some(Stopped::Exhausted)));
}

#[test]
fn a_copy_is_asked_for_as_any_other() {
    fn copies<B: Body, P: CopyRequest<Request<ReplayBody<B>>>>(_: P) {}
    copies::<Script, _>(portcullis::outcome::Http);
}
