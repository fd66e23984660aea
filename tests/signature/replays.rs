//! A message that was let through is not let through again, and one that was not is.

use std::{
    collections::HashMap,
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use portcullis::{
    signature::{
        Keyring, MemoryReplayStore, ReplayKey, ReplayStore, Reserved, Scheme, Secret, SignatureLayer, Signer, Verified,
        VerifiedBody,
    },
    time::{ManualClock, ManualWallClock, UnixTime},
};
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::support::{SECRET, Script, Step, secret, signed};

const CONTENT: &[u8] = b"{}";
const NOW: u64 = 1_700_000_000;

fn store() -> MemoryReplayStore {
    MemoryReplayStore::new(100).unwrap()
}

fn good() -> Request<Full<Bytes>> {
    message("{}")
}

fn message(content: &str) -> Request<Full<Bytes>> {
    signed(content.as_bytes(), Full::from(content.to_owned()))
}

fn with(headers: &HeaderMap) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::from(CONTENT));
    *request.headers_mut() = headers.clone();
    request
}

/// Answers 201, so that it cannot be taken for the layer's own answer, and counts.
fn created(
    calls: &Arc<AtomicUsize>,
) -> impl Service<Request<VerifiedBody>, Response = Response<Bytes>, Error = Infallible, Future: Send> + Clone + use<> {
    let calls = Arc::clone(calls);
    service_fn(move |_: Request<VerifiedBody>| {
        calls.fetch_add(1, Relaxed);
        std::future::ready(Ok(Response::builder().status(StatusCode::CREATED).body(Bytes::new()).unwrap()))
    })
}

async fn status<R, P>(layer: &SignatureLayer<R, P>, request: Request<Full<Bytes>>) -> StatusCode
where
    R: portcullis::signature::Refuse<Bytes> + Clone,
    P: ReplayStore + Clone,
{
    layer.layer(created(&Arc::default())).oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn a_message_is_let_through_once_and_a_copy_is_answered_well() {
    let store = store();
    let layer = SignatureLayer::new(Scheme::cognigy(), secret()).refuse_replays(store.clone());
    let calls = Arc::default();
    let service = layer.layer(created(&calls));
    assert_eq!(service.clone().oneshot(good()).await.unwrap().status(), StatusCode::CREATED);
    for _ in 0..3 {
        let copy = service.clone().oneshot(good()).await.unwrap();
        assert_eq!((copy.status(), copy.body().len()), (StatusCode::OK, 0));
    }
    assert_eq!((calls.load(Relaxed), store.len()), (1, 1));
    let other = service.clone().oneshot(message("[]")).await.unwrap();
    assert_eq!(other.status(), StatusCode::CREATED);

    let mapped = layer.refuse_with(|refusal| Response::builder().status(410).body(refusal.as_str().into()).unwrap());
    let copy = mapped.layer(created(&calls)).oneshot(good()).await.unwrap();
    assert_eq!((copy.status(), &copy.body()[..]), (StatusCode::GONE, &b"duplicate"[..]));
}

#[tokio::test]
async fn what_was_not_answered_well_comes_again() {
    let store = store();
    let layer = SignatureLayer::new(Scheme::cognigy(), secret()).refuse_replays(store.clone());
    for code in [100, 302, 400, 404, 429, 500, 503] {
        let failing = service_fn(move |_: Request<VerifiedBody>| async move {
            Ok::<_, Infallible>(Response::builder().status(code).body(Bytes::new()).unwrap())
        });
        assert_eq!(layer.layer(failing).oneshot(good()).await.unwrap().status(), code);
        assert_eq!(store.len(), 0, "{code}");
    }
    let broken = service_fn(async |_: Request<VerifiedBody>| Err::<Response<Bytes>, _>("broken"));
    assert_eq!(layer.layer(broken).oneshot(good()).await.unwrap_err(), "broken");
    assert_eq!(store.len(), 0);
    assert_eq!(layer.layer(Never).oneshot(good()).await.unwrap_err(), "never ready");
    assert_eq!(store.len(), 0);
    assert_eq!(status(&layer, good()).await, StatusCode::CREATED);
}

#[derive(Clone)]
struct Never;

impl Service<Request<VerifiedBody>> for Never {
    type Response = Response<Bytes>;
    type Error = &'static str;
    type Future = std::future::Pending<Result<Response<Bytes>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Err("never ready"))
    }

    fn call(&mut self, _: Request<VerifiedBody>) -> Self::Future {
        panic!("called without being ready")
    }
}

#[tokio::test]
async fn a_panic_and_a_dropped_call_let_it_come_again() {
    let store = store();
    let layer = SignatureLayer::new(Scheme::cognigy(), secret()).refuse_replays(store.clone());

    let at_once = service_fn(|_: Request<VerifiedBody>| -> std::future::Ready<Result<Response<Bytes>, Infallible>> {
        panic!("in call")
    });
    assert!(AssertUnwindSafe(layer.layer(at_once).oneshot(good())).catch_unwind().await.is_err());
    assert_eq!(store.len(), 0);

    let later = service_fn(async |_: Request<VerifiedBody>| -> Result<Response<Bytes>, Infallible> {
        tokio::task::yield_now().await;
        panic!("in the future")
    });
    assert!(AssertUnwindSafe(layer.layer(later).oneshot(good())).catch_unwind().await.is_err());
    assert_eq!(store.len(), 0);

    let gate = Arc::new(Semaphore::new(0));
    let mut call = Box::pin(layer.layer(gated(&gate)).call(good()));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(store.len(), 1);
    drop(call);
    assert_eq!(store.len(), 0);

    // Waiting for room.
    let limited = tower::ServiceBuilder::new().layer(&layer).concurrency_limit(1).service(gated(&gate));
    let mut held = Box::pin(limited.clone().oneshot(message("[]")));
    assert!(held.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let mut waiting = Box::pin(limited.oneshot(good()));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(store.len(), 2);
    drop((waiting, held));
    assert_eq!(store.len(), 0);
    assert_eq!(status(&layer, good()).await, StatusCode::CREATED);
}

fn gated(
    gate: &Arc<Semaphore>,
) -> impl Service<Request<VerifiedBody>, Response = Response<Bytes>, Error = Infallible> + Clone + use<> {
    let gate = Arc::clone(gate);
    service_fn(move |_: Request<VerifiedBody>| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(Response::new(Bytes::new()))
        }
    })
}

/// Whether the one that runs ends well is not known yet: told that all is well, its sender would not come again.
#[tokio::test]
async fn a_copy_of_one_that_is_running_is_asked_to_come_again() {
    let layer = SignatureLayer::new(Scheme::cognigy(), secret()).refuse_replays(store());
    let gate = Arc::new(Semaphore::new(0));
    let mut running = Box::pin(layer.layer(gated(&gate)).oneshot(good()));
    assert!(running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(status(&layer, good()).await, StatusCode::CONFLICT);
    gate.add_permits(1);
    assert_eq!(running.await.unwrap().status(), StatusCode::OK);
    assert_eq!(status(&layer, good()).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_any_number_at_once_one_is_let_through() {
    let store = store();
    let layer = SignatureLayer::new(Scheme::cognigy(), secret()).refuse_replays(store.clone());
    for round in 0..50 {
        let calls = Arc::new(AtomicUsize::new(0));
        let service = layer.layer(created(&calls));
        let content = format!("{round}");
        let all: Vec<_> = (0..8).map(|_| tokio::spawn(service.clone().oneshot(message(&content)))).collect();
        for one in all {
            assert_ne!(one.await.unwrap().unwrap().status(), StatusCode::UNAUTHORIZED);
        }
        assert_eq!(calls.load(Relaxed), 1);
    }
    assert_eq!(store.len(), 50);
}

/// None of it is signed: not how the signature is written, not which of several it is, not under which secret it was made.
#[tokio::test]
async fn no_other_way_of_writing_the_signature_makes_a_message_new() {
    let layer = SignatureLayer::new(Scheme::cognigy(), secret()).refuse_replays(store());
    assert_eq!(status(&layer, good()).await, StatusCode::CREATED);
    let mut upper = good();
    let value = upper.headers()["x-cognigy-signature"].to_str().unwrap().to_uppercase();
    upper.headers_mut().insert("x-cognigy-signature", HeaderValue::try_from(value).unwrap());
    upper.headers_mut().insert("x-request-id", HeaderValue::from_static("another"));
    assert_eq!(status(&layer, upper).await, StatusCode::OK);

    // A provider that rolls its secret signs with both; either signature may be cut off.
    let clock = ManualWallClock::new(UnixTime::from_secs(NOW));
    let of = |secret: &str| {
        let mut headers = HeaderMap::new();
        let signer = Signer::new(Scheme::stripe(), Secret::new(secret).unwrap()).wall_clock(clock.clock());
        signer.sign(&mut headers, CONTENT).unwrap();
        headers["stripe-signature"].to_str().unwrap().split_once(',').unwrap().1.to_owned()
    };
    let (one, two) = (of("the secret of last year"), of("the secret of this year"));
    let both = ["the secret of this year", "the secret of last year"].map(|secret| Secret::new(secret).unwrap());
    let keyring = Keyring::new(Scheme::stripe(), both).unwrap();
    let layer = SignatureLayer::with_keyring(keyring.clone()).wall_clock(clock.clock()).refuse_replays(store());
    let listed = |list: String| {
        let value = HeaderValue::try_from(format!("t={NOW},{list}")).unwrap();
        with(&HeaderMap::from_iter([("stripe-signature".parse().unwrap(), value)]))
    };
    assert_eq!(status(&layer, listed(format!("{one},{two}"))).await, StatusCode::CREATED);
    for list in [format!("{two},{one}"), one.clone(), two.clone(), format!("v0=x,{two}")] {
        assert_eq!(status(&layer, listed(list)).await, StatusCode::OK);
    }
    // Nor does the end of the rotation.
    keyring.replace([Secret::new("the secret of last year").unwrap()]).unwrap();
    assert_eq!(status(&layer, listed(one)).await, StatusCode::OK);
}

#[tokio::test]
async fn a_signed_id_is_what_a_message_is_known_by() {
    let clock = ManualWallClock::new(UnixTime::from_secs(NOW));
    for (scheme, header) in [
        (Scheme::standard_webhooks(), "webhook-id"),
        (Scheme::svix(), "svix-id"),
        (Scheme::twitch(), "twitch-eventsub-message-id"),
    ] {
        let layer = SignatureLayer::new(scheme.clone(), secret()).wall_clock(clock.clock()).refuse_replays(store());
        let identified = |id: &'static str| {
            let mut headers = HeaderMap::from_iter([(header.parse().unwrap(), HeaderValue::from_static(id))]);
            let signer = Signer::new(scheme.clone(), secret()).wall_clock(clock.clock());
            signer.sign(&mut headers, CONTENT).unwrap();
            with(&headers)
        };
        let inner = service_fn(async |request: Request<VerifiedBody>| {
            let id = request.extensions().get::<Verified>().unwrap().replay_id().cloned();
            Ok::<_, Infallible>(
                Response::builder().status(201).body(Bytes::from(id.unwrap().as_bytes().to_vec())).unwrap(),
            )
        });
        let first = layer.layer(inner).oneshot(identified("msg_1")).await.unwrap();
        assert_eq!((first.status(), &first.body()[..]), (StatusCode::CREATED, &b"msg_1"[..]));
        // Sent again a minute later, and signed anew.
        clock.set(UnixTime::from_secs(NOW + 60));
        assert_eq!(status(&layer, identified("msg_1")).await, StatusCode::OK, "{header}");
        assert_eq!(status(&layer, identified("msg_2")).await, StatusCode::CREATED);
        clock.set(UnixTime::from_secs(NOW));
    }
}

/// 64 KiB are hashed in a turn, whatever they are hashed for.
#[tokio::test]
async fn content_is_hashed_once_more_only_where_there_is_no_id() {
    let content = Bytes::from(vec![7; 1 << 20]);
    for (scheme, id, expected) in
        [(Scheme::github(), None, 32..=33), (Scheme::standard_webhooks(), Some("webhook-id"), 16..=17)]
    {
        let mut request = Request::new(Full::new(content.clone()));
        if let Some(id) = id {
            request.headers_mut().insert(id, HeaderValue::from_static("msg_1"));
        }
        Signer::new(scheme.clone(), secret()).sign(request.headers_mut(), &content).unwrap();
        let layer = SignatureLayer::new(scheme, secret()).refuse_replays(store());
        let mut call = Box::pin(layer.layer(created(&Arc::default())).call(request));
        let mut turns = 0;
        while call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            turns += 1;
        }
        assert!(expected.contains(&turns), "{turns} turns");
    }
}

#[tokio::test]
async fn nothing_that_is_not_verified_reaches_the_store() {
    let store = store();
    let layer = SignatureLayer::new(Scheme::cognigy(), secret()).accept_credentials().refuse_replays(store.clone());
    let mut wrong = good();
    wrong.headers_mut().insert("x-cognigy-signature", HeaderValue::try_from("0".repeat(64)).unwrap());
    assert_eq!(status(&layer, wrong).await, StatusCode::UNAUTHORIZED);
    assert_eq!(store.len(), 0);

    // Nothing of it is signed, so nothing tells it from another.
    for _ in 0..2 {
        let mut vouched = Request::new(Full::from(CONTENT));
        vouched.headers_mut().insert("x-api-key", HeaderValue::from_static(SECRET));
        assert_eq!(status(&layer, vouched).await, StatusCode::CREATED);
    }
    let aborted = signed(CONTENT, Script::new([Step::Data(Bytes::from_static(CONTENT)), Step::Error]));
    let response = layer.layer(created(&Arc::default())).oneshot(aborted).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(store.is_empty());
}

#[tokio::test]
async fn a_full_store_lets_nothing_unknown_through_and_forgets_nothing() {
    let clock = ManualClock::new();
    let store = MemoryReplayStore::with_clock(1, clock.clock()).unwrap();
    let layer = SignatureLayer::new(Scheme::cognigy(), secret()).refuse_replays(store);
    let other = || message("[]");
    assert_eq!(status(&layer, good()).await, StatusCode::CREATED);
    assert_eq!(status(&layer, other()).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(&layer, good()).await, StatusCode::OK);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(status(&layer, other()).await, StatusCode::CREATED);
}

#[test]
fn a_store_without_room_is_a_mistake() {
    let clock = ManualClock::new();
    for store in [MemoryReplayStore::new(0), MemoryReplayStore::with_clock(0, clock.clock())] {
        assert_eq!(store.unwrap_err().to_string(), "capacity must be at least 1, but is 0");
    }
    for store in [MemoryReplayStore::new(1), MemoryReplayStore::with_clock(1, clock.clock())] {
        assert!(store.unwrap().is_empty());
    }
}

/// Every moment at which the timestamp is good is one at which the copy is known.
#[tokio::test]
async fn a_message_is_remembered_for_as_long_as_its_timestamp_is_good() {
    let (clock, wall) = (ManualClock::new(), ManualWallClock::new(UnixTime::from_secs(NOW - 5)));
    let layer = SignatureLayer::new(Scheme::paddle(), secret())
        .wall_clock(wall.clock())
        .refuse_replays(MemoryReplayStore::with_clock(1, clock.clock()).unwrap())
        .remember_for(Duration::ZERO);
    let mut headers = HeaderMap::new();
    let sender = ManualWallClock::new(UnixTime::from_secs(NOW));
    Signer::new(Scheme::paddle(), secret()).wall_clock(sender.clock()).sign(&mut headers, CONTENT).unwrap();
    // It comes from as far in the future as may be, and goes as far into the past.
    assert_eq!(status(&layer, with(&headers)).await, StatusCode::CREATED);
    for millis in (0..=12_000).step_by(100) {
        wall.set(UnixTime::new(Duration::from_millis((NOW - 5) * 1000 + millis)));
        let expected = if millis < 11_000 { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(status(&layer, with(&headers)).await, expected, "after {millis} ms");
        clock.advance(Duration::from_millis(100));
    }
}

/// As a store over a network is: its futures are boxed, take their time, and fail.
#[derive(Clone, Default)]
struct Remote {
    known: Arc<Mutex<HashMap<ReplayKey, &'static str>>>,
    broken: Arc<AtomicUsize>,
}

struct RemoteLease(Arc<Mutex<HashMap<ReplayKey, &'static str>>>, ReplayKey);

impl Drop for RemoteLease {
    fn drop(&mut self) {
        let mut known = self.0.lock().unwrap();
        if known.get(&self.1) == Some(&"running") {
            known.remove(&self.1);
        }
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, &'static str>> + Send>>;

impl Remote {
    async fn travel(&self) -> Result<(), &'static str> {
        tokio::task::yield_now().await;
        if self.broken.load(Relaxed) > 0 { Err("connection refused") } else { Ok(()) }
    }
}

impl ReplayStore for Remote {
    type Lease = RemoteLease;
    type Error = &'static str;
    type Reserving = Boxed<Reserved<RemoteLease>>;
    type Settling = Boxed<()>;

    fn reserve(&self, key: ReplayKey, _: Duration) -> Self::Reserving {
        let store = self.clone();
        Box::pin(async move {
            store.travel().await?;
            let mut known = store.known.lock().unwrap();
            Ok(match known.get(&key) {
                Some(&"running") => Reserved::Running,
                Some(_) => Reserved::Done,
                None => {
                    known.insert(key, "running");
                    Reserved::New(RemoteLease(Arc::clone(&store.known), key))
                }
            })
        })
    }

    fn commit(&self, lease: RemoteLease, _: Duration) -> Self::Settling {
        let store = self.clone();
        Box::pin(async move {
            store.travel().await?;
            store.known.lock().unwrap().insert(lease.1, "done");
            Ok(())
        })
    }

    fn release(&self, lease: RemoteLease) -> Self::Settling {
        let store = self.clone();
        Box::pin(async move {
            store.travel().await?;
            drop(lease);
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_store_may_be_far_away_and_break() {
    let store = Remote::default();
    let layer = SignatureLayer::new(Scheme::cognigy(), secret()).refuse_replays(Arc::new(store.clone()));
    let failing = service_fn(async |_: Request<VerifiedBody>| Err::<Response<Bytes>, _>("broken"));
    assert!(layer.layer(failing).oneshot(good()).await.is_err());
    assert_eq!(status(&layer, good()).await, StatusCode::CREATED);
    assert_eq!(status(&layer, good()).await, StatusCode::OK);

    store.broken.store(1, Relaxed);
    assert_eq!(status(&layer, good()).await, StatusCode::SERVICE_UNAVAILABLE);

    // It breaks while the message is being answered: the answer is given all the same.
    store.broken.store(0, Relaxed);
    let broken = Arc::clone(&store.broken);
    let breaking = service_fn(move |_: Request<VerifiedBody>| {
        broken.store(1, Relaxed);
        std::future::ready(Ok::<_, Infallible>(Response::new(Bytes::from("done"))))
    });
    let other = message("[]");
    assert_eq!(layer.layer(breaking).oneshot(other).await.unwrap().body(), "done");
}

#[test]
fn a_future_with_a_store_can_be_sent() {
    fn sendable<T: Send>(_: &T) {}
    let layer = SignatureLayer::new(Scheme::cognigy(), secret()).refuse_replays(Remote::default());
    sendable(&layer.layer(created(&Arc::default())).call(good()));
    assert!(format!("{layer:?}").contains("refuse_replays: true"));
}
