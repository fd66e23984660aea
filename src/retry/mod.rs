//! Retries: tries again what may succeed the next time, and knows when to stop.
//!
//! Use it for calls that fail now and then for reasons that pass by themselves, and that do no harm when they arrive twice.
//! Retries mend a short fault, and multiply the load of a long one: give them a [`Budget`], and put a
//! [circuit breaker](crate::breaker) inside.
//!
//! ```
//! use std::time::Duration;
//! use http::{Request, Response, header::RETRY_AFTER};
//! use portcullis::{BoxError, retry::{Attempt, Attempts, Backoff, RetryLayer, RetryPolicy}};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let policy = RetryPolicy::http()
//!     .max_attempts(4)
//!     .backoff(Backoff::exponential(Duration::from_millis(200), Duration::from_secs(10)))
//!     .deadline(Duration::from_secs(20))
//!     .build()?;
//! let mut client = ServiceBuilder::new().layer(RetryLayer::new(policy)).service(service_fn(
//!     async |request: Request<&'static str>| {
//!         Ok::<_, BoxError>(match request.extensions().get::<Attempt>().map(Attempt::number) {
//!             Some(0) => Response::builder().status(429).header(RETRY_AFTER, "5").body("not now")?,
//!             Some(1) => Response::builder().status(503).body("still busy")?,
//!             _ => Response::new("hello"),
//!         })
//!     },
//! ));
//!
//! let start = tokio::time::Instant::now();
//! let response = client.ready().await?.call(Request::new("")).await?;
//! assert_eq!(*response.body(), "hello");
//! assert_eq!(response.extensions().get::<Attempts>().unwrap().count(), 3);
//! // The server's five seconds, and not a moment less.
//! assert!(start.elapsed() >= Duration::from_secs(5));
//!
//! // Nobody knows what a POST has done, so it is sent once.
//! let response = client.ready().await?.call(Request::post("/order").body("")?).await?;
//! assert_eq!(response.status(), 429);
//! # Ok::<(), BoxError>(())
//! # }).unwrap();
//! ```
//!
//! # What is tried again
//!
//! A call, if all of these hold; [`Stopped`] names the one that did not:
//!
//! 1. Its result is [`Retryable`](crate::outcome::Retryable). A rejection by an open circuit is not.
//! 2. It was not the last of [`max_attempts`](RetryPolicyBuilder::max_attempts), which count the first.
//! 3. Its request may be repeated: over HTTP it is idempotent by its method, or has an `Idempotency-Key`, or
//!    [`retry_non_idempotent`](RetryPolicyBuilder::retry_non_idempotent) was chosen; and it could be copied, and the copy
//!    can still be sent: a body that a [`ReplayLayer`] keeps may have outgrown its cap.
//! 4. The next wait ends before the [`deadline`](RetryPolicyBuilder::deadline), and the server asks for no more than
//!    [`retry_after_max`](RetryPolicyBuilder::retry_after_max).
//! 5. The [`Budget`], where there is one, has a retry left. It is asked last, so that what is not going to be made costs nothing.
//!
//! Otherwise the caller gets the last response as it is, with [`Attempts`] in its extensions, or the last error in a
//! [`RetryError`]. That error is the rejection where a circuit opened meanwhile: what was answered before is in its
//! [`history`](RetryError::history).
//!
//! # How long it waits
//!
//! As [`Backoff`] has it. Jitter, which exponential backoff has unless told otherwise, is drawn for each wait, so that requests
//! do not walk in step. Where the response has a `Retry-After` (see [`retry_after`](crate::outcome::retry_after)), that takes
//! the place of this one wait: it is never shortened, and lengthened by at most
//! [`hint_jitter`](RetryPolicyBuilder::hint_jitter). A hint of zero, or of a date that has passed, is none.
//!
//! The failed response, its connection and its place in a concurrency limit are given back before the wait begins. A call
//! that is dropped makes no further attempt, and leaves no timer behind.
//!
//! # How much time it has
//!
//! [`deadline`](RetryPolicyBuilder::deadline) is for the call: all attempts and waits share it.
//! [`attempt_timeout`](RetryPolicyBuilder::attempt_timeout) is for each attempt; the guide compares them with
//! [other timeouts](crate::guide::timeouts). Over HTTP the inner service finds the earlier of
//! the two moments in its request, as a [`Deadline`], and can send it on; a request that comes with one is bound by that as well.
//!
//! # Order
//!
//! ```text
//! fallback ─▶ retry ─▶ breaker ─▶ timeout of one attempt ─▶ service
//! ```
//!
//! A [`ReplayLayer`], where bodies come as streams, is outside of retry, which copies what it makes of them.
//!
//! Outside the breaker, so that each attempt is counted and an open circuit ends the retries; outside the timeout, so that
//! each attempt has the whole of it. A concurrency limit inside retry is not held during a wait, one outside is.
//!
//! # What an outage makes of it
//!
//! A thousand clients each send a request a second, with up to four attempts, and the service is down for a minute. This is
//! the load on it meanwhile, as a multiple of the requests, and the most calls that come within ten milliseconds:
//!
//! | retries | load | in 10 ms |
//! | --- | ---: | ---: |
//! | none | 1.0 | 10 |
//! | without jitter | 3.7 | 3,010 |
//! | with full jitter | 3.9 | 65 |
//! | and a [`Budget`] of a fifth | 1.2 | 20 |
//! | jitter, and a [circuit](crate::breaker) inside | 0.02 | 10 |
//!
//! Jitter keeps retries from coming at once, and not from coming. `tests/storm.rs` has the model, in simulated time.
//!
//! All of them share one budget and one circuit there. Where each is a process with its own, other settings are right: the
//! module `guide::fleet` has that.
//!
//! # How it differs from `tower::retry`
//!
//! A `Policy` there has to be written by the user. This one is made of settings, and its service sees more: the first attempt
//! carries its number too, a running attempt is cut at the deadline, the last attempt makes no copy of the request and is
//! judged all the same. A [`RetryPolicy`] also implements
//! `tower::retry::Policy`, whose documentation here says what is lost that way.
//!
//! # What is told
//!
//! With feature `tracing` each retry and each giving up is an event of level `DEBUG`, with the number of attempts and the cause or
//! the reason. With feature `metrics` they are counted by whatever recorder is installed:
//!
//! | Counter | Label | counts |
//! | --- | --- | --- |
//! | `portcullis_retries_total` | `cause`: a status, `response`, `error` or `timeout`, as [`Cause`] has it | retries, when their wait begins |
//! | `portcullis_retry_giveups_total` | `reason`, as [`Stopped::as_str`] has it | calls that did not succeed and were not tried again |
//! | `portcullis_retry_budget_refusals_total` | | retries that a [`Budget`] did not grant, to a policy or to others |
//!
//! The inner service is told by [`Attempt`], the caller by [`Attempts`] or a [`RetryError`]: how many attempts there were,
//! and what the earlier ones ended with.
//!
//! # What it costs
//!
//! A call that succeeds copies its request (unless it is its only attempt), clones the inner service and the policy's plain
//! data, and puts two marks into HTTP extensions. No box and no task; a clock only where there is a deadline or a limit
//! for attempts, and then a timer once the call is found to be pending. A [`Budget`] costs a reference and one addition, and a
//! [backoff](Backoff::custom) of your own a reference.
//!
//! # Panics
//!
//! A wait, a deadline and a limit for attempts need tokio's timer: outside of a runtime that has one, they panic.
//!
//! # What it does not do
//!
//! It does not copy a body that is no `Clone`: such a request needs a [`ReplayLayer`] outside, which keeps what is sent up to a
//! cap, or [`copy_with`](RetryPolicyBuilder::copy_with). It judges a response by its head, so an error in the body that follows is
//! not seen: read the body inside if it matters.

mod layer; // what the user stacks
mod service; // the first attempt
mod future; // the others
mod policy; // what follows an attempt
mod basis; // what all calls have in common, and what goes before an attempt
mod backoff; // how long to wait
mod budget; // how many there may be
mod protocol; // what may be repeated, and where marks go
mod attempt; // the marks
mod history; // what earlier attempts ended with
mod deadline; // until when the caller waits
mod builder; // what the user chooses
mod settings; // what was chosen
mod span; // a time in one word
mod error; // what the caller is told
mod tower; // the same for tower's own service

pub use self::{
    attempt::{Attempt, Attempts, Cause, Stopped},
    backoff::{Backoff, Jitter},
    budget::{Budget, BudgetBuilder, Withdrawal},
    builder::RetryPolicyBuilder,
    deadline::Deadline,
    error::{AttemptTimedOut, DeadlineExceeded, RetryError},
    future::ResponseFuture,
    layer::RetryLayer,
    policy::RetryPolicy,
    protocol::{CopyWith, Protocol},
    service::Retry,
    tower::Wait,
};
pub use crate::{
    copy::CopyRequest,
    replay::{NotReplayed, Replay, ReplayBody, ReplayError, ReplayLayer},
};
