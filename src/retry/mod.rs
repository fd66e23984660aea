//! Retries that know when to stop.

mod attempt;
mod backoff;
mod builder;
mod error;
mod future;
mod layer;
mod policy;
mod protocol;
mod service;
mod tower;

pub use self::{
    attempt::{Attempt, Attempts, Cause, Stopped},
    backoff::{Backoff, Jitter},
    builder::RetryPolicyBuilder,
    error::{DeadlineExceeded, RetryError},
    future::ResponseFuture,
    layer::RetryLayer,
    policy::RetryPolicy,
    protocol::{CopyRequest, CopyWith, Protocol},
    service::Retry,
    tower::Wait,
};
