//! The layer.

use tower_layer::Layer;

use super::{Retry, RetryPolicy};
use crate::outcome::Http;

/// Tries again what failed, as a [`RetryPolicy`] has it: see the [module](super).
///
/// Nothing is shared between calls, so one layer may serve any number of services.
#[derive(Clone, Debug)]
#[must_use]
pub struct RetryLayer<C = Http, P = Http> {
    policy: RetryPolicy<C, P>,
}

impl<C, P> RetryLayer<C, P> {
    /// A layer that retries as `policy` has it.
    pub const fn new(policy: RetryPolicy<C, P>) -> Self {
        Self { policy }
    }
}

impl<S, C: Clone, P: Clone> Layer<S> for RetryLayer<C, P> {
    type Service = Retry<S, C, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, self.policy.clone())
    }
}
