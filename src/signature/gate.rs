//! The settings, as a layer and its services share them.

use std::time::Duration;

use super::{tell::Refusals, verifier::SignatureVerifier};

/// What every request is judged by.
#[derive(Clone)]
pub(super) struct Gate<R, P> {
    pub(super) verifier: SignatureVerifier,
    pub(super) refusals: Refusals,
    pub(super) max_body: usize,
    pub(super) body_timeout: Duration,
    pub(super) replays: Option<P>,
    pub(super) remember_for: Duration,
    pub(super) refuse: R,
}

impl<R, P> Gate<R, P> {
    /// What is the user's own taken out, so that another can take its place.
    pub(super) fn take(self) -> (Gate<(), ()>, R, Option<P>) {
        let Self { verifier, refusals, max_body, body_timeout, replays, remember_for, refuse } = self;
        let gate = Gate { verifier, refusals, max_body, body_timeout, replays: None, remember_for, refuse: () };
        (gate, refuse, replays)
    }

    /// How long a message is remembered.
    pub(super) fn remember(&self) -> Duration {
        self.remember_for.max(self.verifier.scheme().lifetime().unwrap_or_default())
    }
}

impl Gate<(), ()> {
    pub(super) fn with<R, P>(self, refuse: R, replays: Option<P>) -> Gate<R, P> {
        let Self { verifier, refusals, max_body, body_timeout, remember_for, .. } = self;
        Gate { verifier, refusals, max_body, body_timeout, replays, remember_for, refuse }
    }
}

impl<R, P> std::fmt::Debug for Gate<R, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignatureLayer")
            .field("verifier", &self.verifier)
            .field("max_body_bytes", &self.max_body)
            .field("body_timeout", &self.body_timeout)
            .field("refuse_replays", &self.replays.is_some())
            .finish_non_exhaustive()
    }
}
