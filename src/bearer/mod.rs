//! Bearer tokens: puts `Authorization: Bearer TOKEN` on outgoing requests, and sees to it that there is one.
//!
//! Use it for APIs whose tokens expire: OAuth 2.0 client credentials, workload identities, metadata servers. The source of
//! tokens is a service from `()` to [`Token`], so that what makes other calls reliable makes this one so:
//!
//! ```
//! use std::{sync::atomic::{AtomicU32, Ordering::Relaxed}, time::Duration};
//! use http::{Request, Response, StatusCode, header::AUTHORIZATION};
//! use portcullis::{
//!     BoxError,
//!     bearer::{BearerLayer, Token},
//!     breaker::{Circuit, CircuitBreakerLayer},
//!     retry::{Backoff, RetryLayer, RetryPolicy},
//! };
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn, timeout::TimeoutLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! static FETCHED: AtomicU32 = AtomicU32::new(0);
//! let token_server = service_fn(async |()| match FETCHED.fetch_add(1, Relaxed) {
//!     0 => Err(BoxError::from("busy")),
//!     number => Ok(Token::new(format!("token-{number}"))?.expires_in(Duration::from_secs(3600))),
//! });
//! let source = ServiceBuilder::new()
//!     .layer(RetryLayer::new(RetryPolicy::results().backoff(Backoff::constant(Duration::from_millis(100))).build()?))
//!     .layer(CircuitBreakerLayer::new(Circuit::builder("token server").consecutive_failures(5).build()?))
//!     .layer(TimeoutLayer::new(Duration::from_secs(5)))
//!     .service(token_server);
//!
//! let mut client = ServiceBuilder::new()
//!     .layer(BearerLayer::new(source))
//!     .service(service_fn(async |request: Request<()>| {
//!         // The first token has been revoked.
//!         let known = request.headers()[AUTHORIZATION] == "Bearer token-2";
//!         let status = if known { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
//!         Ok::<_, BoxError>(Response::builder().status(status).body(())?)
//!     }));
//! for _ in 0..3 {
//!     let response = client.ready().await.map_err(BoxError::from)?.call(Request::new(())).await.map_err(BoxError::from)?;
//!     assert_eq!(response.status(), StatusCode::OK);
//! }
//! // One that failed, one, and one more after the 401.
//! assert_eq!(FETCHED.load(Relaxed), 3);
//! # Ok::<(), BoxError>(())
//! # }).unwrap();
//! ```
//!
//! # When a token is fetched
//!
//! * **For the first request**, and for one that finds it expired. The service is not ready until there is one. However many
//!   wait, there is one fetch; whoever of them is dropped, the others go on with it.
//! * **Ahead of its end**, while it is still good: when a fifth of its lifetime is left, and a minute at most; jitter takes up to half
//!   of that away ([`refresh_ahead`](BearerBuilder::refresh_ahead)). Requests go with the old one meanwhile, and do not wait.
//! * **After a 401**, once, and the request is then repeated with the new token ([`Repeated`] is in its extensions). If another
//!   request has replaced the refused token meanwhile, the repeat goes with that one. A second 401 goes to the caller, and so does
//!   the first where the last such fetch is not yet [`refusal_pause`](BearerBuilder::refusal_pause) ago: a server that refuses
//!   every token does not make every request fetch one. A 401 to a request that cannot be repeated goes to the caller, and the
//!   next call fetches, beside its own request.
//!
//! A request with a body that is not `Clone` needs a [`ReplayLayer`] outside, which keeps what is sent up to a cap, or
//! [`copy_with`](BearerBuilder::copy_with), and may go without a repeat.
//!
//! # When there is none
//!
//! A source that fails is asked again after [`failure_pause`](BearerBuilder::failure_pause), and until then each call fails at
//! once with the same [`NoToken`]. While the old token is good it is used, and the failure is an event and nothing more.
//!
//! A source that hangs keeps the service from being ready for as long, so it wants a timeout around it, as above.
//!
//! # Who drives a fetch
//!
//! No task is spawned. A fetch is driven by those who wait for it, and one ahead of time by the calls that are under way. If they
//! end first it stays where it is, and the next call goes on with it. A fetch that had news which nobody looked at for
//! longer than the failure pause may have run into its own time limit, or lost its connection: if it fails then, that is not
//! held against the source, and another is begun.
//!
//! # Order
//!
//! ```text
//! retry ─▶ breaker ─▶ bearer ─▶ timeout of one attempt ─▶ service
//! ```
//!
//! Inside the breaker, which takes its permit once there is a token, so that a token server that hangs or fails is never taken
//! for the service: tell its classifier that [`BearerError::NoToken`] is [`Ignored`](crate::outcome::Outcome::Ignored). A refresh
//! and a repeat after a 401 lie within one call: the breaker counts one outcome, with the time that both took, and retry one attempt.
//! Outside the timeout, so that each exchange has the whole of it.
//!
//! # What it costs
//!
//! With a good token, a call takes a lock twice for a few dozen nanoseconds and a reading of the clock each, inserts a header
//! and copies the request, as a retry does; without a copy it allocates
//! nothing of its own. A fetch is boxed.

mod layer; // what the user stacks
mod service; // readiness: a token, then the inner service
mod future; // the call, and its repeat
mod cache; // the one that synchronises
mod source; // the fetch under way
mod waiters; // who is woken
mod token; // what is fetched
mod builder; // what the user chose
mod error; // what the caller is told

pub use self::{
    builder::BearerBuilder,
    error::{BearerError, NoToken},
    future::{Repeated, ResponseFuture},
    layer::BearerLayer,
    service::Bearer,
    token::Token,
};
pub use crate::{
    copy::CopyRequest,
    replay::{NotReplayed, Replay, ReplayBody, ReplayError, ReplayLayer},
};
