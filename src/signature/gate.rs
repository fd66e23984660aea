//! The settings, as a layer and its services share them.

use std::time::Duration;

use super::{Scheme, keyring::Keyring};
use crate::time::WallClock;

/// What every request is judged by.
#[derive(Clone)]
pub(super) struct Gate<R, P> {
    pub(super) scheme: Scheme,
    pub(super) keyring: Keyring,
    pub(super) max_body: usize,
    pub(super) body_timeout: Duration,
    pub(super) credentials: bool,
    pub(super) clock: WallClock,
    pub(super) replays: Option<P>,
    pub(super) remember_for: Duration,
    pub(super) refuse: R,
}

impl<R, P> Gate<R, P> {
    /// What is the user's own taken out, so that another can take its place.
    pub(super) fn take(self) -> (Gate<(), ()>, R, Option<P>) {
        let Self { scheme, keyring, max_body, body_timeout, credentials, clock, replays, remember_for, refuse } = self;
        let gate = Gate {
            scheme,
            keyring,
            max_body,
            body_timeout,
            credentials,
            clock,
            replays: None,
            remember_for,
            refuse: (),
        };
        (gate, refuse, replays)
    }

    /// How long a message is remembered.
    pub(super) fn remember(&self) -> Duration {
        self.remember_for.max(self.scheme.lifetime().unwrap_or_default())
    }
}

impl Gate<(), ()> {
    pub(super) fn with<R, P>(self, refuse: R, replays: Option<P>) -> Gate<R, P> {
        let Self { scheme, keyring, max_body, body_timeout, credentials, clock, remember_for, .. } = self;
        Gate { scheme, keyring, max_body, body_timeout, credentials, clock, replays, remember_for, refuse }
    }
}

impl<R, P> std::fmt::Debug for Gate<R, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignatureLayer")
            .field("scheme", &self.scheme.name())
            .field("secrets", &self.keyring.labels())
            .field("max_body_bytes", &self.max_body)
            .field("body_timeout", &self.body_timeout)
            .field("accept_credentials", &self.credentials)
            .field("refuse_replays", &self.replays.is_some())
            .finish_non_exhaustive()
    }
}
