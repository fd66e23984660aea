//! What the calls of a policy have in common, and what it says of an attempt that is about to be made.

use super::{Attempt, CopyRequest, Deadline, Protocol, history::History, settings::Settings};
use crate::time::{Instant, after, can_be_waited_for, now};

/// A policy without a session: each call has a copy, in which nothing changes.
#[derive(Clone, Debug)]
pub(super) struct Basis<C, P> {
    pub(super) settings: Settings,
    pub(super) classify: C,
    pub(super) protocol: P,
}

impl<C, P> Basis<C, P> {
    /// Until when somebody waits for a request that comes now, and whether that is over.
    #[inline]
    pub(super) fn deadline<Req, Res>(&self, request: &Req) -> (Option<Instant>, bool)
    where
        P: Protocol<Req, Res>,
    {
        let given = self.protocol.deadline(request).map(Deadline::moment).filter(can_be_waited_for);
        let deadline = earlier(self.settings.deadline().and_then(after), given);
        (deadline, given.is_some() && is_over(deadline))
    }

    /// When an attempt that begins now is cut: at the deadline or before.
    #[inline]
    pub(super) fn until(&self, deadline: Option<Instant>) -> Option<Instant> {
        earlier(self.settings.attempt_timeout().and_then(after), deadline)
    }

    /// Marks an attempt that is about to be made, and keeps a copy where another could follow.
    #[inline]
    pub(super) fn send<Req, Res>(
        &self,
        request: &mut Req,
        (attempts, history): (u32, History),
        until: Option<Instant>,
    ) -> Option<Req>
    where
        P: Protocol<Req, Res> + CopyRequest<Req>,
    {
        // The copy is made before the marks, which are of this attempt alone.
        let copy = self.copy(request, attempts);
        self.mark_request(request, (attempts, history), until);
        copy
    }

    /// Tells the inner service which attempt it gets, and until when somebody waits for it.
    #[inline]
    pub(super) fn mark_request<Req, Res>(
        &self,
        request: &mut Req,
        (attempts, history): (u32, History),
        until: Option<Instant>,
    ) where
        P: Protocol<Req, Res>,
    {
        self.protocol.mark_request(request, Attempt::new(attempts.saturating_sub(1), history));
        if let Some(until) = until {
            self.protocol.mark_deadline(request, Deadline::new(until));
        }
    }

    /// A copy of what is about to be sent as the last of so many attempts, unless there may be no other.
    #[inline]
    pub(super) fn copy<Req, Res>(&self, request: &Req, attempts: u32) -> Option<Req>
    where
        P: Protocol<Req, Res> + CopyRequest<Req>,
    {
        let another = attempts.max(1) < self.settings.max_attempts();
        let repeatable = another && (self.settings.non_idempotent() || self.protocol.is_idempotent(request));
        if repeatable { self.protocol.copy(request) } else { None }
    }
}

/// Whether `deadline` has passed.
pub(super) fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| now() >= deadline)
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
