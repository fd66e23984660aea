//! What errors say: what happened, in a line that can stand behind another's colon, and no secret. One that holds another shows
//! it in its own text or has it as its source, and never both: who prints the chain would read it twice.

use std::{
    convert::Infallible,
    error::Error,
    fmt::{Debug, Display},
    future::pending,
    io,
    sync::Mutex,
    time::Duration,
};

use axum::extract::FromRequestParts;
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use portcullis::{
    BoxError, ConfigError,
    bearer::{BearerError, BearerLayer, NoToken, Token},
    breaker::{BreakerError, Circuit, CircuitBuilder, Circuits, HalfOpen, Rejected},
    outcome::AsRejection,
    retry::{
        AttemptTimedOut, Backoff, DeadlineExceeded, NotReplayed, ReplayError, RetryError, RetryLayer, RetryPolicy,
    },
    signature::{
        Full as StoreIsFull, KeyEncoding, Keyring, MemoryReplayStore, NotSigned, Reason, Refusal, Scheme, Secret,
        Segment, SignError, SignatureLayer, SignatureVerifier, Signer, SigningError, Timestamp, Verified, VerifiedBody,
    },
    time::ManualClock,
};
use tower::{Layer, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);
/// What no text may hold.
const SECRET: &str = "hunter2 hunter2";

/// One line in lower case that goes on where another began, whatever it is printed with.
#[track_caller]
fn says(said: &(impl Display + Debug), expected: &str) {
    let text = said.to_string();
    assert_eq!(text, expected);
    assert!(text.starts_with(|first: char| first.is_lowercase() || first.is_ascii_digit()), "{text}");
    assert!(!text.ends_with(['.', '!', ' ', '\n', ':']) && text.lines().count() == 1, "{text}");
    for shown in [text, format!("{said:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

/// The same of an error that holds another: it shows that one, or has it as its source.
#[track_caller]
fn reports(error: &(impl Error + ?Sized), expected: &str) {
    says(&error, expected);
    let inner = error.source().map(ToString::to_string);
    assert!(inner.is_none_or(|inner| !expected.contains(&inner)), "{expected}: the source is shown twice");
}

/// The same of an error that is no `Error` itself: it says what the one that it holds does, and becomes that one, so that
/// none of the two is in the way of the other.
#[track_caller]
fn gives_way_to<E: Error + 'static>(error: impl Display + Debug + Into<BoxError>, expected: &str) {
    says(&error, expected);
    let boxed: BoxError = error.into();
    assert!(boxed.is::<E>(), "{boxed:?}");
    reports(&*boxed, expected);
}

// ===== the breaker =====

/// For 15 seconds by a clock that stands still.
fn circuit(rule: impl FnOnce(CircuitBuilder) -> CircuitBuilder) -> (Circuit, ManualClock) {
    let clock = ManualClock::new();
    let builder = Circuit::builder("customer-api").open_for(SECOND * 15).minimum_calls(3).clock(clock.clock());
    (rule(builder).build().unwrap(), clock)
}

#[test]
fn a_rejection_names_the_circuit_and_the_rule_that_opened_it_with_its_figures() {
    type Rule = fn(CircuitBuilder) -> CircuitBuilder;
    // Of three calls of two seconds each, two fail.
    let cases: [(Rule, &str); 6] = [
        (|circuit| circuit.consecutive_failures(1), "1 failure"),
        (|circuit| circuit.consecutive_failures(2), "2 failures in a row"),
        (|circuit| circuit.failures(2), "2 of 3 calls failed"),
        (|circuit| circuit.failure_rate(0.57), "2 of 3 calls failed, limit 57 %"),
        (|circuit| circuit.slow_call(SECOND).slow_call_rate(1.0), "3 of 3 calls were slow, limit 100 %"),
        (|circuit| circuit.mean_latency(SECOND * 3 / 2), "mean latency 2s, limit 1.5s"),
    ];
    for (rule, why) in cases {
        let (circuit, clock) = circuit(rule);
        for failed in [false, true, true] {
            let Ok(permit) = circuit.acquire() else { break };
            clock.advance(SECOND * 2);
            if failed { permit.failure() } else { permit.success() }
        }
        let rejected = circuit.acquire().unwrap_err();
        says(&rejected.tripped().unwrap(), why);
        let wait = rejected.retry_after().unwrap();
        let expected = format!("circuit customer-api let no call through: {why}; it will in {wait:?}");
        reports(&rejected, &expected);
        gives_way_to::<Rejected>(BreakerError::<BoxError>::from(rejected), &expected);
    }
    gives_way_to::<StoreIsFull>(BreakerError::Inner(StoreIsFull), "the store of replays is full");
}

#[test]
fn a_rejection_of_a_half_open_circuit_says_what_opened_it_and_promises_nothing() {
    let (circuit, clock) = circuit(|circuit| {
        circuit
            .consecutive_failures(1)
            .half_open(HalfOpen::permits(3).successes(2).max_concurrent(1).timeout(SECOND * 30))
    });
    circuit.acquire().unwrap().failure();
    clock.advance(SECOND * 15);
    let probe = circuit.acquire().unwrap();
    reports(&circuit.acquire().unwrap_err(), "circuit customer-api let no call through: 1 failure");
    probe.failure();
    circuit.acquire().unwrap().failure();
    says(&circuit.snapshot().tripped.unwrap(), "2 of 3 probes failed");
    clock.advance(SECOND * 15);
    let _hangs = circuit.acquire().unwrap();
    clock.advance(SECOND * 30);
    says(&circuit.snapshot().tripped.unwrap(), "half-open for 30s without a verdict");
    circuit.force_open();
    reports(&circuit.acquire().unwrap_err(), "circuit customer-api let no call through");
}

/// Whoever is asked further out has to know that the service was not called; an error of a layer's own is no rejection.
#[test]
fn an_error_around_a_rejection_is_one_and_any_other_is_not() {
    let (circuit, _) = circuit(|circuit| circuit.consecutive_failures(1));
    circuit.force_open();
    let rejected = || BreakerError::<BoxError>::from(circuit.acquire().unwrap_err());
    assert_eq!(circuit.acquire().unwrap_err().circuit(), "customer-api");
    let failed = || BreakerError::<BoxError>::Inner("down".into());
    for (error, rejection) in [(rejected(), true), (failed(), false)] {
        assert_eq!(error.is_rejection(), rejection);
        assert_eq!(SigningError::Inner(error).is_rejection(), rejection);
    }
    for (error, rejection) in [(rejected(), true), (failed(), false)] {
        assert_eq!(BearerError::Inner(error).is_rejection(), rejection);
    }
    assert!(!SigningError::<BreakerError<BoxError>>::NotSigned(NotSigned::TooLarge).is_rejection());
    let hidden = NotSigned::Body(BoxError::from(rejected()));
    assert!(!SigningError::<BreakerError<BoxError>>::NotSigned(hidden).is_rejection(), "of the body's source");
}

// ===== retry, replayed bodies, bearer =====

#[tokio::test(start_paused = true)]
async fn a_retry_says_what_its_last_attempt_ended_with() {
    async fn error<E: Debug + AsRejection>(deadline: Duration, answers: Option<E>) -> RetryError<E> {
        let policy = RetryPolicy::results().backoff(Backoff::constant(SECOND)).max_attempts(2);
        let policy = policy.attempt_timeout(SECOND * 2).deadline(deadline).build().unwrap();
        let answers = Mutex::new(answers);
        let inner = service_fn(|()| {
            let answer = answers.lock().unwrap().take();
            async move { if let Some(error) = answer { Err::<(), _>(error) } else { pending().await } }
        });
        RetryLayer::new(policy).layer(inner).oneshot(()).await.unwrap_err()
    }
    gives_way_to::<AttemptTimedOut>(error::<BoxError>(SECOND * 60, None).await, "attempt timed out");
    gives_way_to::<DeadlineExceeded>(error::<BoxError>(SECOND, None).await, "deadline exceeded");
    let failed = error(Duration::from_millis(1), Some(io::Error::other("connection refused"))).await;
    gives_way_to::<io::Error>(failed, "connection refused");
}

#[test]
fn a_body_that_is_not_sent_again_says_why() {
    for (why, expected) in [
        (NotReplayed::Superseded, "the request is being sent again"),
        (NotReplayed::NotKept, "the body was not kept, and cannot be sent again"),
        (NotReplayed::Failed, "the body failed in an earlier attempt"),
    ] {
        reports(&why, expected);
        gives_way_to::<NotReplayed>(ReplayError::<BoxError>::NotReplayed(why), expected);
    }
    gives_way_to::<StoreIsFull>(ReplayError::Body(StoreIsFull), "the store of replays is full");
}

#[tokio::test]
async fn a_missing_token_says_what_its_source_did() {
    let layer = BearerLayer::new(service_fn(async |()| Err::<Token, BoxError>("the token server is down".into())));
    let error = layer.ready().await.unwrap_err();
    let expected = "no token: the token server is down";
    reports(&error, expected);
    gives_way_to::<NoToken>(BearerError::<BoxError>::NoToken(error), expected);
    gives_way_to::<StoreIsFull>(BearerError::Inner(StoreIsFull), "the store of replays is full");
}

// ===== signatures =====

#[test]
fn a_reason_says_what_is_wrong_and_nothing_of_what_was_sent() {
    for (reason, expected) in [
        (Reason::Missing, "a header that the scheme needs is missing"),
        (Reason::Repeated, "a header that must occur once occurs more often"),
        (Reason::Malformed, "a header is not written as the scheme has it"),
        (Reason::Stale, "signed too long ago"),
        (Reason::Future, "signed too far in the future"),
        (Reason::Mismatch, "made with none of the secrets, or not for this content"),
        (Reason::Expired, "made with a secret that is not accepted any more"),
        (Reason::NoContext, "the scheme signs a context, and the request was given none"),
    ] {
        reports(&reason, expected);
    }
    let verifier = SignatureVerifier::new(Scheme::github(), Secret::new(SECRET).unwrap());
    let headers = HeaderMap::from_iter([("x-hub-signature-256".parse().unwrap(), "hunter2".parse().unwrap())]);
    reports(&verifier.verify(&headers, b"hunter2").unwrap_err(), "a header is not written as the scheme has it");
}

/// Answers with the text of a refusal.
fn telling() -> SignatureLayer<impl Fn(&Refusal) -> Response<String> + Clone> {
    SignatureLayer::new(Scheme::github(), Secret::new(SECRET).unwrap()).max_body_bytes(8).refuse_with(|refusal| {
        says(refusal, &refusal.to_string());
        assert_ne!(refusal.as_str(), refusal.to_string());
        Response::builder().status(refusal.status()).body(refusal.to_string()).unwrap()
    })
}

type Sent = BoxBody<Bytes, BoxError>;

fn message(body: impl Body<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static) -> Request<Sent> {
    let mut request = Request::new(BoxBody::new(body.map_err(Into::into)));
    Signer::new(Scheme::github(), Secret::new(SECRET).unwrap()).sign(request.headers_mut(), b"{}").unwrap();
    request
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_why_in_other_words_than_its_label() {
    let well = service_fn(async |_: Request<VerifiedBody>| Ok::<_, Infallible>(Response::new(String::new())));
    let frames = |last: Result<Frame<Bytes>, BoxError>| StreamBody::new(stream::iter([last]));
    let hangs = StreamBody::new(stream::pending::<Result<Frame<Bytes>, BoxError>>());
    for (request, expected) in [
        (message(Full::from("[]")), "not verified: made with none of the secrets, or not for this content"),
        (
            Request::new(BoxBody::new(Empty::new().map_err(Into::into))),
            "not verified: a header that the scheme needs is missing",
        ),
        (message(Full::from("nine bytes, and more")), "the body is larger than the cap"),
        (message(hangs), "the body did not arrive in time"),
        (message(frames(Err(SECRET.into()))), "the body ended in an error"),
    ] {
        let answer = telling().layer(well).oneshot(request).await.unwrap();
        assert_eq!(answer.into_body(), expected);
    }

    let guarded = telling().refuse_replays(MemoryReplayStore::new(1).unwrap());
    let good = || message(Full::from("{}"));
    let hanging = service_fn(|_: Request<VerifiedBody>| pending::<Result<Response<String>, Infallible>>());
    let mut running = Box::pin(guarded.layer(hanging).oneshot(good()));
    assert!(running.as_mut().now_or_never().is_none());
    let mut answers = Vec::new();
    let mut other = message(Full::from("[]"));
    other.headers_mut().clear();
    Signer::new(Scheme::github(), Secret::new(SECRET).unwrap()).sign(other.headers_mut(), b"[]").unwrap();
    for request in [good(), other] {
        answers.push(guarded.layer(well).oneshot(request).await.unwrap().into_body());
    }
    drop(running);
    for request in [good(), good()] {
        answers.push(guarded.layer(well).oneshot(request).await.unwrap().into_body());
    }
    assert_eq!(
        answers,
        [
            "the same message is being answered right now",
            "nobody knows whether the message was let through before",
            "",
            "the message was let through before",
        ]
    );
}

#[test]
fn what_is_not_signed_says_what_it_lacks() {
    for (error, expected) in [
        (SignError::Missing, "a header that has to be signed is missing"),
        (SignError::Repeated, "a header that has to be signed occurs twice"),
        (SignError::Malformed, "a header that has to be signed is empty or could be read in two ways"),
        (SignError::NoContext, "the scheme signs a context, and the signer was given none"),
    ] {
        reports(&error, expected);
        let not_signed = format!("not signed: {expected}");
        gives_way_to::<NotSigned>(SigningError::<BoxError>::NotSigned(error.into()), &not_signed);
    }
    for (error, expected) in [
        (NotSigned::TooLarge, "not signed: the body is larger than the cap"),
        (NotSigned::Body("the disk is gone".into()), "not signed: the body failed: the disk is gone"),
    ] {
        gives_way_to::<NotSigned>(SigningError::<BoxError>::NotSigned(error), expected);
    }
    gives_way_to::<StoreIsFull>(SigningError::Inner(StoreIsFull), "the store of replays is full");
}

#[tokio::test]
async fn a_route_without_a_layer_says_so() {
    let (mut head, ()) = Request::new(()).into_parts();
    let error = Verified::from_request_parts(&mut head, &()).await.unwrap_err();
    reports(&error, "the route has no signature layer");
}

// ===== settings =====

#[test]
fn a_setting_that_makes_no_sense_is_named_with_what_it_is_and_a_secret_is_not_shown() {
    fn error<T>(built: Result<T, ConfigError>) -> ConfigError {
        built.err().unwrap()
    }
    let circuit = || Circuit::builder("customer-api");
    let secret = |label: &'static str| Secret::new(SECRET).unwrap().label(label);
    for (error, expected) in [
        (
            error(circuit().build()),
            "rules must be one or more of consecutive_failures, failures, failure_rate, slow_call_rate and mean_latency, but is none",
        ),
        (
            error(circuit().failure_rate(1.5).build()),
            "failure_rate must be at least 0.000000001 and at most 1, but is 1.5",
        ),
        (
            error(circuit().failures(5).half_open(HalfOpen::permits(1).successes(2)).build()),
            "half_open.successes must be at most the number of permits, but is 2",
        ),
        (
            error(Circuits::<u32>::builder(circuit().failures(5)).capacity(0).build()),
            "capacity must be at least 1, but is 0",
        ),
        (error(RetryPolicy::http().max_attempts(0).build()), "max_attempts must be at least 1, but is 0"),
        (
            error(RetryPolicy::http().backoff(Backoff::exponential(SECOND, SECOND * 2).factor(0.5)).build()),
            "factor must be a finite number of at least 1, but is 0.5",
        ),
        (
            error(BearerLayer::builder(service_fn(async |()| Token::new("t"))).refresh_ahead(1.0, SECOND).build()),
            "refresh_ahead must be a share of at least 0 and below 1, but is 1",
        ),
        (error(Token::new(SECRET)), "token must be one or more visible ASCII characters, without a space, but is not"),
        (error(Secret::new("")), "secret must be one byte or longer, but is empty"),
        (error(Secret::decode(SECRET, KeyEncoding::Hex)), "secret must be written in hex, but is not"),
        (
            error(Keyring::new(Scheme::github(), [secret("b"), secret("b")])),
            "label must be of one secret alone, but is \"b\"",
        ),
        (
            error(
                Scheme::builder("custom")
                    .header("x-signature")
                    .timestamp(Timestamp::header("x-time"))
                    .signed([Segment::Body])
                    .build(),
            ),
            "timestamp must be signed, since it proves nothing else, but is not",
        ),
    ] {
        reports(&error, expected);
        assert!(expected.starts_with(error.setting()), "{error}");
    }
}
