//! A circuit breaker: stops calling a service that is failing, and asks it gently whether it is well again.
//!
//! Use it around every dependency that can be slow or down, so that callers get an answer in microseconds instead of
//! waiting for a timeout, and the dependency gets the quiet in which to recover.
//!
//! # States
//!
//! ```text
//!                       a rule trips
//!        ┌──────────┐ ──────────────────────────▶ ┌──────────┐ ◀─────────┐
//!        │  Closed  │                             │   Open   │           │ too many probes failed,
//!        └──────────┘ ◀───────┐                   └──────────┘           │ or no verdict in time
//!                             │ enough              │ open_for has passed│
//!                             │ probes succeeded    ▼ and a call comes   │
//!                             │                   ┌──────────┐           │
//!                             └────────────────── │ HalfOpen │ ──────────┘
//!                                                 └──────────┘
//! ```
//!
//! * **Closed**: calls go through, and their outcomes are kept in a sliding window.
//! * **Open**: calls are rejected with [`Rejected`], which says for how long; the service is not touched.
//! * **Half-open**: [`HalfOpen::permits`] calls go through, and not one more, as probes; others are rejected. Enough successes
//!   close the circuit with an empty window; as soon as they cannot be reached it opens again. A probe that is ignored or
//!   dropped decides nothing and gives its place to another call.
//!
//! By hand a circuit is [forced open](Circuit::force_open), [disabled](Circuit::disable), [observed](Circuit::observe) or
//! [closed](Circuit::reset); it then stays so, but for a closed one, until another state is set.
//!
//! # Rules
//!
//! Any of these opens a closed circuit, as soon as the call that crossed it has returned: failures in a row, failures in
//! the window, the failure rate, the slow-call rate, the mean latency. Rates and the mean count from
//! [`minimum_calls`](CircuitBuilder::minimum_calls) on, and are judged on every outcome: a success can complete the
//! minimum. Slow is strictly longer than [`slow_call`](CircuitBuilder::slow_call); a call can be slow and failed at once.
//!
//! * An outcome is heard only in the state that admitted its call: a straggler from before the circuit opened closes
//!   nothing.
//! * A call that is dropped gives its permit back. One that had run for longer than `slow_call` counts as slow and failed,
//!   so that a timeout outside the breaker does not hide an outage. A panic is a failure.
//! * An [`Ignored`](crate::outcome::Outcome::Ignored) outcome is neutral in every state.
//!
//! # Order
//!
//! Inside retry, so that every attempt is counted and an open circuit ends the retries; outside the timeout, so that a call
//! that hangs ends as a failure. The guide says what [each other order](crate::guide::order) would do, and
//! [which settings](crate::guide::settings) to choose.
//!
//! ```
//! use std::{io, time::Duration};
//! use portcullis::{BoxError, breaker::{Circuit, CircuitBreakerLayer, HalfOpen, Rejected, State}, time::ManualClock};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn, timeout::TimeoutLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let clock = ManualClock::new();
//! let circuit = Circuit::builder("customer-api")
//!     .consecutive_failures(5)
//!     .failure_rate(0.5)
//!     .slow_call(Duration::from_millis(1500))
//!     .slow_call_rate(0.5)
//!     .open_for(Duration::from_secs(15))
//!     .half_open(HalfOpen::permits(1))
//!     .clock(clock.clock())
//!     .build()?;
//! let mut service = ServiceBuilder::new()
//!     .map_err(BoxError::from)
//!     .layer(CircuitBreakerLayer::new(circuit.clone()))
//!     .layer(TimeoutLayer::new(Duration::from_secs(10)))
//!     .service(service_fn(async |well: bool| if well { Ok("hello") } else { Err(io::Error::other("down")) }));
//!
//! for _ in 0..5 {
//!     assert!(service.ready().await?.call(false).await.is_err());
//! }
//! let error = service.ready().await?.call(true).await.unwrap_err();
//! let rejected = error.downcast_ref::<Rejected>().expect("the circuit is open");
//! assert_eq!(rejected.retry_after(), Some(Duration::from_secs(15)));
//! assert_eq!(rejected.to_string(), "circuit customer-api let no call through: 5 failures in a row; it will in 15s");
//!
//! clock.advance(Duration::from_secs(15));
//! assert_eq!(service.ready().await?.call(true).await?, "hello");
//! assert_eq!(circuit.snapshot().state, State::Closed);
//! # Ok::<(), BoxError>(())
//! # }).unwrap();
//! ```
//!
//! A response is counted at its head, or [at the end of its body](CircuitBreakerLayer::until_body_end) where that is asked for.
//!
//! Under a load balancer, one circuit for each endpoint and the layer [gated](CircuitBreakerLayer::gated): an endpoint whose
//! circuit is open is then not ready, and the calls go to others.
//!
//! # Many circuits
//!
//! [`Circuits`] makes one for each key, such as a host or a tenant, on first use and bounded in number;
//! [`KeyedBreakerLayer`] picks it by the request.
//!
//! # Watching
//!
//! [`Circuit::snapshot`] is the circuit now, [`Circuit::subscribe`] every change of its state, and `tracing` gets an event for
//! each, with the rule that tripped and its figures. With the feature `metrics`, `report` keeps one gauge true.
//! [What to do about them at night](crate::guide::operating) is in the guide.
//!
//! # Settings
//!
//! [`CircuitBuilder`] checks them all, and with the feature `serde` reads them as people write them. [`Circuit::reconfigure`]
//! changes them while the circuit is in use.
//!
//! # What it costs
//!
//! Closed, a call loads one word that others seldom write, and counts in one that its thread shares with few: no lock and no
//! allocation. It reads the clock once, and twice where it is measured; the [coarse clock](crate::time::Clock::coarse) is the
//! default where it is fine enough. A failure or a slow call also takes a look at the whole window, and so does the first
//! success of each tenth of it. A rejection by an open circuit writes nothing. Through the layer, most of the cost is that of
//! the reference that a call holds to its circuit: [`Circuit::leak`] is the way without.
//!
//! Half-open, calls take a lock. So do they, once each, with a count window, which is an order over all calls, and with the rule
//! for mean latency, where each success changes the verdict.
//!
//! What a call costs does not grow with the calls in the window. `cargo bench --bench breaker` measures it beside the floor.

mod layer; // what the user stacks
mod service; // readiness, then a permit
mod future; // the call under way
mod body; // the call until its body has ended
mod permit; // says how it ended
mod circuit; // the handle
mod core; // what the handles share: reads the clock, and tells of changes
mod bell; // wakes whoever waits for a change
mod shared; // the one that synchronises
mod limits; // what trips, for threads that read it
mod stripes; // what happened lately, by time, without a lock
mod word; // several numbers in one
mod sync; // atomics
mod threads; // which stripe
mod machine; // states and steps
mod phase; // the states
mod change; // what a step tells of the state
mod refusal; // and of a call
mod probes; // who went through half-open, and what became of them
mod plan; // what it is told to do
mod rules; // what trips
mod opening; // for how long
mod cause; // what tripped, as plain numbers
mod window; // what happened lately, in order
mod builder; // what the user chose
mod checks; // whether that makes sense
#[cfg(feature = "serde")]
mod written; // as people write it
mod half_open; // how it probes
mod name; // who it is
mod snapshot; // how it looks from outside
mod error; // what the caller is told
mod log; // the latest changes
mod subscription; // tells of them
#[cfg(feature = "metrics")]
mod report; // the state as a metric
mod circuits; // one for each key
mod shards; // where those are kept
mod keyed; // the layer that picks one
mod probe; // asks while it is not closed

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use self::report::report;
pub use self::{
    body::{BodyBreaker, BodyBreakerLayer, BodyFuture, CountedBody},
    builder::CircuitBuilder,
    change::Change,
    circuit::Circuit,
    circuits::{Circuits, CircuitsBuilder},
    error::{BreakerError, Rejected},
    future::ResponseFuture,
    half_open::HalfOpen,
    keyed::{KeyedBreaker, KeyedBreakerLayer},
    layer::CircuitBreakerLayer,
    name::Name,
    permit::Permit,
    probe::{probe, probe_when},
    rules::{Rate, Trip},
    service::CircuitBreaker,
    snapshot::{Snapshot, State},
    subscription::Subscription,
};
