//! The auto traits and sizes of all public types. Nobody writes these down where a type is declared, and yet a change of a private field
//! that takes one away breaks whoever stores the type or sends it to another thread; so a change has to be made here too.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt, fs,
    future::{Ready, ready},
    marker::PhantomData,
    panic::{RefUnwindSafe, UnwindSafe},
    path::Path,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use portcullis::{bearer, breaker, fallback, outcome, retry, signature, time};
use tower::Service;

/// Answers at once, and has all auto traits, as its future has: what a layer around it lacks is the layer's own.
#[derive(Clone, Debug)]
struct Inner<Res>(PhantomData<fn() -> Res>);

impl<Req, Res> Service<Req> for Inner<Res> {
    type Response = Res;
    type Error = fmt::Error;
    type Future = Ready<Result<Res, fmt::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), fmt::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        ready(Err(fmt::Error))
    }
}

type Client = Inner<Response<Bytes>>;
type Server = Inner<Response<Full<Bytes>>>;
type Tokens = Inner<bearer::Token>;
/// Of the inner future, on a machine of 64 bits.
const FUTURE: usize = 144;

type Call = Ready<Result<Response<Bytes>, fmt::Error>>;
type Answer = fn(Result<Response<Bytes>, fmt::Error>) -> Result<Response<Bytes>, Infallible>;
type Key = fn(&Request<Bytes>) -> u64;

struct Probe<T: ?Sized>(PhantomData<T>);

/// A constant of its own comes before one of a trait, and is there only for types that have the auto trait.
macro_rules! probes {
    ($($name:ident, $without:ident: $auto:path;)+) => {
        $(
            trait $without {
                const $name: bool = false;
            }
            impl<T: ?Sized> $without for Probe<T> {}
            impl<T: ?Sized + $auto> Probe<T> {
                const $name: bool = true;
            }
        )+
    };
}

probes! {
    SYNC, NotSync: Sync;
    UNPIN, NotUnpin: Unpin;
    UNWIND, NotUnwind: UnwindSafe;
    REF_UNWIND, NotRefUnwind: RefUnwindSafe;
}

/// Everything here can be sent to another thread, and be printed, or this does not compile.
const fn size<T: Send + fmt::Debug>() -> usize {
    size_of::<T>()
}

macro_rules! table {
    ($($of:ty,)+) => {
        vec![$((
            stringify!($of),
            [Probe::<$of>::SYNC, Probe::<$of>::UNPIN, Probe::<$of>::UNWIND, Probe::<$of>::REF_UNWIND],
            size::<$of>(),
        ),)+]
    };
}

type Row = (&'static str, [bool; 4], usize);

fn all() -> Vec<Row> {
    table![
        portcullis::BoxError,
        portcullis::ConfigError,
        bearer::Bearer<Client, Tokens>,
        bearer::BearerBuilder<Tokens>,
        bearer::BearerError<fmt::Error>,
        bearer::BearerLayer<Tokens>,
        bearer::NoToken,
        bearer::NotReplayed,
        bearer::Repeated,
        bearer::Replay<Client>,
        bearer::ReplayBody<Full<Bytes>>,
        bearer::ReplayError<fmt::Error>,
        bearer::ReplayLayer,
        bearer::ResponseFuture<Client, Tokens, outcome::Http, Bytes>,
        bearer::Token,
        breaker::BodyBreaker<Client, outcome::Http>,
        breaker::BodyBreakerLayer<outcome::Http>,
        breaker::BodyFuture<Call, outcome::Http>,
        breaker::BreakerError<fmt::Error>,
        breaker::Change,
        breaker::Circuit,
        breaker::CircuitBreaker<Client, outcome::Http>,
        breaker::CircuitBreakerLayer<outcome::Http>,
        breaker::CircuitBuilder,
        breaker::Circuits<u64>,
        breaker::CircuitsBuilder<u64>,
        breaker::CountedBody<Full<Bytes>>,
        breaker::HalfOpen,
        breaker::KeyedBreaker<Client, u64, Key, outcome::Http>,
        breaker::KeyedBreakerLayer<u64, Key, outcome::Http>,
        breaker::Name,
        breaker::Permit,
        breaker::Rate,
        breaker::Rejected,
        breaker::ResponseFuture<Call, outcome::Http>,
        breaker::Snapshot,
        breaker::State,
        breaker::Subscription,
        breaker::Trip,
        fallback::Fallback<Client, Answer, fmt::Error, outcome::Http>,
        fallback::FallbackLayer<Answer, fmt::Error, outcome::Http>,
        fallback::ResponseFuture<Call, Answer, fmt::Error, outcome::Http>,
        outcome::Http,
        outcome::Outcome,
        outcome::Results,
        retry::Attempt,
        retry::AttemptTimedOut,
        retry::Attempts,
        retry::Backoff,
        retry::Budget,
        retry::BudgetBuilder,
        retry::Cause,
        retry::CopyWith<outcome::Http, Key>,
        retry::Deadline,
        retry::DeadlineExceeded,
        retry::Jitter,
        retry::ResponseFuture<Client, outcome::Http, outcome::Http, Request<Bytes>>,
        retry::Retry<Client>,
        retry::RetryError<fmt::Error>,
        retry::RetryLayer,
        retry::RetryPolicy,
        retry::RetryPolicyBuilder,
        retry::Stopped,
        retry::Wait,
        retry::Withdrawal,
        signature::Bare,
        signature::Encoding,
        signature::Full,
        signature::Hash,
        signature::KeyEncoding,
        signature::Keyring,
        signature::MemoryLease,
        signature::MemoryReplayStore,
        signature::Names,
        signature::NoReplayStore,
        signature::NotSigned,
        signature::NotVerified,
        signature::Reason,
        signature::Refusal,
        signature::RefusalKind,
        signature::ReplayKey,
        signature::Reserved<signature::MemoryLease>,
        signature::ResponseFuture<Server, Full<Bytes>, signature::Bare, signature::NoReplayStore>,
        signature::Scheme,
        signature::SchemeBuilder,
        signature::Secret,
        signature::Segment,
        signature::Sign<Client>,
        signature::SignError,
        signature::SignFuture<Client, Full<Bytes>>,
        signature::SignLayer,
        signature::SignatureLayer,
        signature::SignatureVerifier,
        signature::SignedBody,
        signature::SignedContext,
        signature::Signer,
        signature::SigningError<fmt::Error>,
        signature::Timestamp,
        signature::Unit,
        signature::Verified,
        signature::VerifiedBody,
        signature::Verifying<'static>,
        signature::VerifySignature<Server, signature::Bare, signature::NoReplayStore>,
        time::Clock,
        time::ManualClock,
        time::ManualWallClock,
        time::Tick,
        time::UnixTime,
        time::WallClock,
    ]
}

const PANICS: [&str; 2] = ["UnwindSafe", "RefUnwindSafe"];

/// What is not `Sync`, `Unpin`, `UnwindSafe` and `RefUnwindSafe`, and why.
const LACKS: &[(&str, &[&str], &str)] = &[
    ("portcullis::BoxError", &PANICS, "of the standard library"),
    ("bearer::Bearer", &PANICS, "shares the fetch, which is a boxed future"),
    ("bearer::BearerError", &PANICS, "the source's own error, boxed"),
    ("bearer::NoToken", &PANICS, "the source's own error, boxed"),
    ("bearer::ResponseFuture", &PANICS, "shares the fetch, which is a boxed future"),
    ("breaker::BodyBreaker", &PANICS, "the timer of the gated mode"),
    ("breaker::BodyFuture", &PANICS, "what a response may carry along"),
    ("breaker::CircuitBreaker", &PANICS, "the timer of the gated mode"),
    ("breaker::Circuits", &PANICS, "a closure of the user's"),
    ("breaker::CircuitsBuilder", &PANICS, "a closure of the user's"),
    ("breaker::KeyedBreaker", &PANICS, "a closure of the user's"),
    ("breaker::KeyedBreakerLayer", &PANICS, "a closure of the user's"),
    ("breaker::ResponseFuture", &PANICS, "what a response may carry along"),
    ("fallback::ResponseFuture", &PANICS, "what a response may carry along"),
    ("retry::Backoff", &PANICS, "a closure of the user's"),
    ("retry::ResponseFuture", &["Unpin", "UnwindSafe", "RefUnwindSafe"], "a timer in place"),
    ("retry::Retry", &PANICS, "a closure of the user's"),
    ("retry::RetryLayer", &PANICS, "a closure of the user's"),
    ("retry::RetryPolicy", &PANICS, "a closure of the user's"),
    ("retry::RetryPolicyBuilder", &PANICS, "a closure of the user's"),
    ("retry::Wait", &["Unpin", "UnwindSafe", "RefUnwindSafe"], "a timer in place"),
    ("signature::NotSigned", &PANICS, "the body's own error, boxed"),
    (
        "signature::ResponseFuture",
        &["Sync", "Unpin", "UnwindSafe", "RefUnwindSafe"],
        "a verification of the user's, and a timer in place",
    ),
    ("signature::Sign", &PANICS, "the context is kept as http's extensions"),
    ("signature::SignFuture", &PANICS, "what a request may carry along"),
    ("signature::SignLayer", &PANICS, "the context is kept as http's extensions"),
    ("signature::SignatureLayer", &PANICS, "the context is kept as http's extensions"),
    ("signature::SignatureVerifier", &PANICS, "the context is kept as http's extensions"),
    ("signature::Signer", &PANICS, "the context is kept as http's extensions"),
    ("signature::SigningError", &PANICS, "the body's own error, boxed"),
    ("signature::VerifySignature", &PANICS, "the context is kept as http's extensions"),
    ("signature::Verifying", &["Sync", "UnwindSafe", "RefUnwindSafe"], "a verification of the user's"),
];

/// What there is one of for each call, and the bytes that it takes at most, around an inner future of `FUTURE` bytes.
const SIZES: &[(&str, usize)] = &[
    ("bearer::Token", 56),
    ("bearer::ResponseFuture", 448),
    ("bearer::ReplayBody", 40),
    ("breaker::Permit", 40),
    ("breaker::Rejected", 72),
    ("breaker::BreakerError", 72),
    ("breaker::ResponseFuture", 184),
    ("breaker::BodyFuture", 184),
    ("breaker::CountedBody", 72),
    ("fallback::ResponseFuture", 152),
    ("retry::ResponseFuture", 752),
    ("retry::RetryError", 24),
    ("retry::Wait", 136),
    ("retry::Withdrawal", 24),
    ("signature::Refusal", 16),
    ("signature::ResponseFuture", 1040),
    ("signature::SignFuture", 472),
    ("signature::Verified", 120),
    ("signature::VerifiedBody", 168),
    ("signature::SignedBody", 168),
];

/// Without its parameters.
fn plain(name: &str) -> &str {
    name.split('<').next().unwrap()
}

#[test]
fn auto_traits_are_those_that_are_written_down() {
    let autos = ["Sync", "Unpin", "UnwindSafe", "RefUnwindSafe"];
    let mut said: BTreeMap<_, _> = LACKS.iter().map(|(name, lacks, _)| (*name, lacks.to_vec())).collect();
    for (name, has, _) in all() {
        let lacks: Vec<_> = autos.iter().zip(has).filter(|(_, has)| !has).map(|(auto, _)| *auto).collect();
        assert_eq!(lacks, said.remove(plain(name)).unwrap_or_default(), "{name} lacks");
    }
    assert!(said.is_empty(), "no types of the table: {said:?}");
}

#[test]
#[cfg(target_pointer_width = "64")]
fn what_there_is_for_each_call_is_as_small_as_is_written_down() {
    assert_eq!(size_of::<Call>(), FUTURE);
    let sizes: BTreeMap<_, _> = all().into_iter().map(|(name, _, size)| (plain(name), size)).collect();
    let larger: Vec<_> =
        SIZES.iter().filter(|(name, most)| sizes[name] > *most).map(|(name, _)| (name, sizes[name])).collect();
    assert!(larger.is_empty(), "{larger:?}");
}

/// A public item is one that can be named from outside: the compiler's `unreachable_pub` sees to that.
#[test]
fn no_public_type_is_left_out() {
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut public = BTreeSet::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let declared = |line: &str| {
            ["pub struct ", "pub enum ", "pub type "]
                .iter()
                .find_map(|kind| Some(line.trim().strip_prefix(kind)?.to_owned()))
        };
        let names = text.lines().filter_map(declared);
        public.extend(names.map(|name| name.split(|char: char| !char.is_alphanumeric()).next().unwrap().to_owned()));
    }
    let table: BTreeSet<_> =
        all().iter().map(|(name, ..)| plain(name).rsplit("::").next().unwrap().to_owned()).collect();
    let other: Vec<_> = public.symmetric_difference(&table).collect();
    assert!(other.is_empty(), "in the table and not public, or public and not in the table: {other:?}");
}
