//! What a finished call counts as: the one vocabulary that breaker, retry and fallback share.
//!
//! A [`Classify`] looks at a result and names its [`Outcome`]. Two are ready made, and closures are the third way:
//!
//! * [`Results`]: `Ok` is a success, `Err` a failure. Over HTTP this takes a `500` for a success: use the next one.
//! * [`Http`]: the table of HTTP statuses that is written out in its documentation.
//!
//! ```
//! use portcullis::outcome::{Classify, Http, Outcome, Results};
//!
//! let busy: Result<_, std::io::Error> = Ok(http::Response::builder().status(503).body(()).unwrap());
//! assert_eq!(Http.classify(busy.as_ref()), Outcome::Failure);
//! assert_eq!(Results.classify(busy.as_ref()), Outcome::Success);
//!
//! let only_teapots = |result: Result<&http::Response<()>, &std::io::Error>| match result {
//!     Ok(response) if response.status() == 418 => Outcome::Ignored,
//!     Ok(_) => Outcome::Success,
//!     Err(_) => Outcome::Failure,
//! };
//! assert_eq!(only_teapots.classify(busy.as_ref()), Outcome::Success);
//! ```

mod http;
mod http_date;
mod rejection;
mod retry_after;

use std::time::Duration;

pub use self::{http::Http, rejection::AsRejection, retry_after::retry_after};
use crate::time::UnixTime;

/// What a finished call says about the service that answered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The service did its work.
    Success,
    /// The service is not well.
    Failure,
    /// The call says nothing about the service: it is not counted as a call, and ends no run of failures.
    Ignored,
}

/// Names the [`Outcome`] of a result.
///
/// Implemented by [`Results`], by [`Http`], and by every `Fn(Result<&Res, &Err>) -> Outcome`.
pub trait Classify<Res, Err> {
    /// What `result` counts as.
    fn classify(&self, result: Result<&Res, &Err>) -> Outcome;

    /// How long the service asked to be left alone, where it said so; `now` is the wall clock at the response's receipt.
    fn retry_after(&self, result: Result<&Res, &Err>, now: UnixTime) -> Option<Duration> {
        let _ = (result, now);
        None
    }
}

/// Says whether a call that ended so is worth repeating.
///
/// This is a question of its own, since the two answers differ: a `429` says nothing about the service's health, and is
/// worth a retry; a `501` is a failure, and asking again will not help.
pub trait Retryable<Res, Err>: Classify<Res, Err> {
    /// Whether the same request might succeed if it were sent again.
    fn is_retryable(&self, result: Result<&Res, &Err>) -> bool;

    /// Whether the service was not asked at all, because a circuit rejected the call: that earns a
    /// [retry budget](crate::retry::Budget) nothing, and costs it nothing. No call was, unless this is implemented.
    fn is_rejected(&self, result: Result<&Res, &Err>) -> bool {
        let _ = result;
        false
    }
}

impl<F, Res, Err> Classify<Res, Err> for F
where
    F: Fn(Result<&Res, &Err>) -> Outcome,
{
    fn classify(&self, result: Result<&Res, &Err>) -> Outcome {
        self(result)
    }
}

/// A closure retries what it calls a failure, except a circuit's rejection.
impl<F, Res, Err> Retryable<Res, Err> for F
where
    F: Fn(Result<&Res, &Err>) -> Outcome,
    Err: AsRejection,
{
    fn is_retryable(&self, result: Result<&Res, &Err>) -> bool {
        self(result) == Outcome::Failure && !result.is_err_and(AsRejection::is_rejection)
    }

    fn is_rejected(&self, result: Result<&Res, &Err>) -> bool {
        result.is_err_and(AsRejection::is_rejection)
    }
}

/// `Ok` is a success and `Err` a failure, whatever they hold.
///
/// Not for HTTP, where a `500` arrives as `Ok`: see [`Http`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Results;

impl<Res, Err> Classify<Res, Err> for Results {
    fn classify(&self, result: Result<&Res, &Err>) -> Outcome {
        if result.is_ok() { Outcome::Success } else { Outcome::Failure }
    }
}

/// Every error is worth a retry, except a circuit's rejection.
impl<Res, Err: AsRejection> Retryable<Res, Err> for Results {
    fn is_retryable(&self, result: Result<&Res, &Err>) -> bool {
        result.is_err_and(|error| !error.is_rejection())
    }

    fn is_rejected(&self, result: Result<&Res, &Err>) -> bool {
        result.is_err_and(AsRejection::is_rejection)
    }
}
