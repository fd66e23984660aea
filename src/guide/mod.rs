//! The guide: what to choose, in which order, how to test it, and what to do when it tells of trouble.
//!
//! | Page | answers |
//! | --- | --- |
//! | [`settings`] | which numbers, with the arithmetic behind them |
//! | [`order`] | which layer goes outside of which, and what the other orders would do |
//! | [`timeouts`] | where timeouts and deadlines belong, and what a circuit sees of each |
//! | [`fleet`] | what settings make of each other where many processes call one service |
//! | [`testing`] | how your own stack is tested in simulated time |
//! | [`operating`] | what each event and each metric means, and what to do about it at night |
//! | [`migrating`] | what things were called in tower-resilience, failsafe, Polly and resilience4j |
//! | [`using`] | axum, tonic, reqwest, hyper-util and `tower::balance`, each with an example that runs |
//!
//! Every block of code in it is compiled and run by `cargo test`, and `tests/guide.rs` sees to it that each test that a page
//! names exists, and that no event and no metric is missing.
//!
//! These modules hold words and nothing else. They are there when documentation is built or tested, and no crate that
//! depends on this one compiles them.

#[doc = include_str!("settings.md")]
pub mod settings {}

#[doc = include_str!("order.md")]
pub mod order {}

#[doc = include_str!("timeouts.md")]
pub mod timeouts {}

pub mod fleet; // with its charts

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("operating.md")]
pub mod operating {}

#[doc = include_str!("migrating.md")]
pub mod migrating {}

#[doc = include_str!("using.md")]
pub mod using {}
