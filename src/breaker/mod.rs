//! A circuit breaker.

mod error;

pub use error::Rejected;
