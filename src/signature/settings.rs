//! The settings, as a layer and its services share them.

use std::{fmt, time::Duration};

use super::{tell::Refusals, verifier::SignatureVerifier};

/// What every request is judged by.
#[derive(Clone)]
pub(super) struct Settings<R, P> {
    pub(super) common: Common,
    pub(super) replays: Option<P>,
    pub(super) refuse: R,
}

/// What is of the same type whatever the user brings.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) verifier: SignatureVerifier,
    pub(super) refusals: Refusals,
    pub(super) max_body: usize,
    pub(super) body_timeout: Duration,
    pub(super) remember_for: Duration,
}

impl Common {
    /// How long a message is remembered.
    pub(super) fn remember(&self) -> Duration {
        self.remember_for.max(self.verifier.scheme().lifetime().unwrap_or_default())
    }
}

impl<R, P> fmt::Debug for Settings<R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureLayer")
            .field("verifier", &self.common.verifier)
            .field("max_body_bytes", &self.common.max_body)
            .field("body_timeout", &self.common.body_timeout)
            .field("refuse_replays", &self.replays.is_some())
            .finish_non_exhaustive()
    }
}
