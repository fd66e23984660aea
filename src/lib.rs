//! Layers for [`tower`](https://docs.rs/tower) services that know when to stop: they let in only authentic webhooks, stop
//! calling a service that is failing, and try again with manners.
//!
//! | Module | What it does | Refuses with |
//! | --- | --- | --- |
//! | [`signature`] | verifies webhooks and shared credentials before the body reaches a handler | a response: 401, 413, 408, 400; of replays 200, 409, 503 |
//! | [`breaker`] | stops calling a service that fails or is slow, and asks gently whether it is well again | [`BreakerError`](breaker::BreakerError) |
//! | [`bearer`] | puts a token on requests: fetched once for all, replaced before it expires and after a 401 | [`BearerError`](bearer::BearerError) |
//! | [`retry`] | repeats what may be repeated, with jitter, and waits as long as the server asks | the last result, in a [`RetryError`](retry::RetryError) where it is an error |
//! | [`fallback`] | answers in place of an error or of a bad response | nothing |
//!
//! [`outcome`] says what a finished call counts as, and [`time`] how tests move the clock. The [`guide`] says which settings to
//! choose, how to test a stack and how to operate it.
//!
//! # The order of layers
//!
//! ```text
//! outgoing   request ─▶ fallback ─▶ retry ─▶ breaker ─▶ bearer ─▶ timeout ─▶ the service that may fail
//! incoming   webhook ─▶ limits on concurrency ─▶ signature ─▶ decompression ─▶ your handler
//! ```
//!
//! * The **breaker inside retry**: every attempt is counted, and an open circuit ends the retries, since it is never retried.
//! * The **timeout inside the breaker**: a call that hangs ends as a failure. A timeout outside works too, if the circuit
//!   knows what [`slow_call`](breaker::CircuitBuilder::slow_call) is.
//! * The **token inside the breaker**: a circuit takes its permit once there is one, so that a token server that hangs is never
//!   taken for the service. Nor is one that fails, where the circuit's classifier ignores it: see [`bearer`].
//! * The **fallback outermost**: its answers are never taken for the service's.
//!
//! # Example
//!
//! ```
//! use std::{io, time::Duration};
//! use http::{Request, Response};
//! use portcullis::{
//!     BoxError,
//!     breaker::{Circuit, CircuitBreakerLayer, State},
//!     fallback::FallbackLayer,
//!     retry::{Backoff, RetryLayer, RetryPolicy},
//! };
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn, timeout::TimeoutLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let circuit = Circuit::builder("customer-api").consecutive_failures(5).build()?;
//! let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10));
//! let retries = RetryPolicy::http().max_attempts(3).backoff(backoff).build()?;
//!
//! let down = service_fn(async |_: Request<()>| Err::<Response<&str>, _>(io::Error::other("connection refused")));
//! let mut client = ServiceBuilder::new() // outermost first
//!     .layer(FallbackLayer::new(|result| Ok::<_, BoxError>(result.unwrap_or(Response::new("from the cache")))))
//!     .layer(RetryLayer::new(retries))
//!     .layer(CircuitBreakerLayer::http(circuit.clone()))
//!     .layer(TimeoutLayer::new(Duration::from_secs(10)))
//!     .service(down);
//!
//! for _ in 0..2 {
//!     let response = client.ready().await?.call(Request::new(())).await?;
//!     assert_eq!(*response.body(), "from the cache");
//! }
//! // Two requests of at most three attempts each; the fifth failure opened the circuit, and the sixth was not sent.
//! assert_eq!(circuit.snapshot().state, State::Open);
//! assert_eq!(circuit.snapshot().failures, 5);
//! # Ok::<(), BoxError>(())
//! # }).unwrap();
//! ```
//!
//! # Features
//!
//! `bearer`, `breaker`, `retry`, `signature` and `tracing` are on by default; `axum` makes [`signature::Verified`] an
//! extractor; `metrics` adds `breaker::report`, a gauge of a circuit's state, and counts what [`signature`] verifies and
//! refuses, and what [`retry`] tries again and gives up; `serde` reads a `breaker::CircuitBuilder` as people write settings; `test-util`
//! adds the clocks of [`time`] that tests move.
//! A feature adds, and never changes what another part does.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "bearer")]
pub mod bearer;
#[cfg(feature = "breaker")]
pub mod breaker;
#[cfg(not(feature = "breaker"))]
#[path = "breaker/absent.rs"]
mod breaker;
#[cfg(any(feature = "bearer", feature = "breaker", feature = "retry", feature = "signature"))]
mod config;
#[cfg(any(feature = "bearer", feature = "retry"))]
mod copy;
pub mod fallback;
#[cfg(all(any(doc, doctest), feature = "breaker", feature = "retry"))]
pub mod guide;
#[cfg(any(feature = "breaker", feature = "retry"))]
mod handle;
pub mod outcome;
#[cfg(any(feature = "bearer", feature = "retry"))]
mod replay;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "signature")]
pub mod signature;
pub mod time;
#[cfg(any(feature = "bearer", feature = "breaker", feature = "retry", feature = "signature"))]
mod trace;
#[cfg(all(feature = "breaker", feature = "serde"))]
mod written;

#[cfg(any(feature = "bearer", feature = "breaker", feature = "retry", feature = "signature"))]
pub use config::ConfigError;

/// The error type of boxed stacks, as `tower` has it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
