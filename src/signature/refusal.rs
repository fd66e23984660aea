//! Why a request was refused, and what it is answered.

use std::fmt;

use http::{Response, StatusCode};

/// A request that was not let through.
///
/// It holds nothing of the request and nothing of a secret, so no log or answer made from it can show any.
///
/// ```
/// use portcullis::signature::Refusal;
///
/// // What a metric's label takes, and what an answer may show.
/// fn told(refusal: &Refusal) -> (&'static str, u16) {
///     (refusal.as_str(), refusal.status().as_u16())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refusal(RefusalKind);

/// The kinds of [`Refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalKind {
    /// It does not prove who sent it. The reason is for logs and metrics: an answer that shows it helps a forger.
    Unauthorized(Reason),
    /// Its body is larger than the cap, or says that it will be.
    BodyTooLarge,
    /// Its body did not arrive in time.
    BodyTimeout,
    /// Its body ended in an error.
    BodyAborted,
    /// It was let through before, and answered well: see
    /// [`refuse_replays`](super::SignatureLayer::refuse_replays).
    Duplicate,
    /// The same message is being answered right now, and nobody knows yet how.
    InProgress,
    /// The store of replays is full or fails, so nobody knows whether it was let through before.
    StoreUnavailable,
}

/// What is wrong with a signature or a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A header that the scheme needs is not there, or holds no signature of the scheme's version.
    Missing,
    /// A header that must occur once occurs more often: which one counts is a matter of taste, and forgers have taste.
    Repeated,
    /// A header is not written as the scheme has it.
    Malformed,
    /// It was signed too long ago.
    Stale,
    /// It was signed too far in the future.
    Future,
    /// It was not made with any of the secrets, or not for this content.
    Mismatch,
    /// It was made with a secret that is [not accepted any more](super::Secret::not_after).
    Expired,
    /// The scheme signs a [context](super::SignedContext), and no outer layer put one into the request: a mistake of this
    /// server's, and not of the sender.
    NoContext,
}

impl Refusal {
    /// Every one that there is.
    #[cfg(any(test, feature = "metrics"))]
    pub(super) const ALL: [Self; 14] = [
        Self::new(RefusalKind::Unauthorized(Reason::Missing)),
        Self::new(RefusalKind::Unauthorized(Reason::Repeated)),
        Self::new(RefusalKind::Unauthorized(Reason::Malformed)),
        Self::new(RefusalKind::Unauthorized(Reason::Stale)),
        Self::new(RefusalKind::Unauthorized(Reason::Future)),
        Self::new(RefusalKind::Unauthorized(Reason::Mismatch)),
        Self::new(RefusalKind::Unauthorized(Reason::Expired)),
        Self::new(RefusalKind::Unauthorized(Reason::NoContext)),
        Self::new(RefusalKind::BodyTooLarge),
        Self::new(RefusalKind::BodyTimeout),
        Self::new(RefusalKind::BodyAborted),
        Self::new(RefusalKind::Duplicate),
        Self::new(RefusalKind::InProgress),
        Self::new(RefusalKind::StoreUnavailable),
    ];

    pub(super) const fn new(kind: RefusalKind) -> Self {
        Self(kind)
    }

    /// What kind of refusal it is.
    #[must_use]
    pub const fn kind(&self) -> RefusalKind {
        self.0
    }

    /// The status that it is answered with: 401, 413, 408 or 400; of replays 200 for a duplicate, since the sender has
    /// nothing to do any more, and 409 or 503 where it should come again.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self.0 {
            RefusalKind::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            RefusalKind::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RefusalKind::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            RefusalKind::BodyAborted => StatusCode::BAD_REQUEST,
            RefusalKind::Duplicate => StatusCode::OK,
            RefusalKind::InProgress => StatusCode::CONFLICT,
            RefusalKind::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A short name for a metric's label: one of fourteen.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self.0 {
            RefusalKind::Unauthorized(reason) => reason.as_str(),
            RefusalKind::BodyTooLarge => "body_too_large",
            RefusalKind::BodyTimeout => "body_timeout",
            RefusalKind::BodyAborted => "body_aborted",
            RefusalKind::Duplicate => "duplicate",
            RefusalKind::InProgress => "in_progress",
            RefusalKind::StoreUnavailable => "store_unavailable",
        }
    }
}

impl Reason {
    /// Its name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Repeated => "repeated",
            Self::Malformed => "malformed",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::Mismatch => "mismatch",
            Self::Expired => "expired",
            Self::NoContext => "no_context",
        }
    }
}

/// For people; [`as_str`](Reason::as_str) is the label.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "a header that the scheme needs is missing",
            Self::Repeated => "a header that must occur once occurs more often",
            Self::Malformed => "a header is not written as the scheme has it",
            Self::Stale => "signed too long ago",
            Self::Future => "signed too far in the future",
            Self::Mismatch => "made with none of the secrets, or not for this content",
            Self::Expired => "made with a secret that is not accepted any more",
            Self::NoContext => "the scheme signs a context, and the request was given none",
        })
    }
}

impl std::error::Error for Reason {}

impl From<Reason> for RefusalKind {
    fn from(reason: Reason) -> Self {
        Self::Unauthorized(reason)
    }
}

/// For people; [`as_str`](Refusal::as_str) is the label.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            RefusalKind::Unauthorized(reason) => return write!(f, "not verified: {reason}"),
            RefusalKind::BodyTooLarge => "the body is larger than the cap",
            RefusalKind::BodyTimeout => "the body did not arrive in time",
            RefusalKind::BodyAborted => "the body ended in an error",
            RefusalKind::Duplicate => "the message was let through before",
            RefusalKind::InProgress => "the same message is being answered right now",
            RefusalKind::StoreUnavailable => "nobody knows whether the message was let through before",
        })
    }
}

/// Makes the response to a refused request.
///
/// Implemented by [`Bare`] and by every `Fn(&Refusal) -> Response<ResB>`.
pub trait Refuse<ResB> {
    /// The response to a request that was refused so.
    fn refuse(&self, refusal: &Refusal) -> Response<ResB>;
}

/// The status and an empty body: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bare;

impl<ResB: Default> Refuse<ResB> for Bare {
    fn refuse(&self, refusal: &Refusal) -> Response<ResB> {
        let mut response = Response::new(ResB::default());
        *response.status_mut() = refusal.status();
        response
    }
}

impl<F, ResB> Refuse<ResB> for F
where
    F: Fn(&Refusal) -> Response<ResB>,
{
    fn refuse(&self, refusal: &Refusal) -> Response<ResB> {
        self(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_refusals_are_there_once_each_under_a_name_of_its_own() {
        // A match without a rest: whoever adds a kind or a reason comes by here.
        let place = |refusal: &Refusal| match refusal.kind() {
            RefusalKind::Unauthorized(Reason::Missing) => 0,
            RefusalKind::Unauthorized(Reason::Repeated) => 1,
            RefusalKind::Unauthorized(Reason::Malformed) => 2,
            RefusalKind::Unauthorized(Reason::Stale) => 3,
            RefusalKind::Unauthorized(Reason::Future) => 4,
            RefusalKind::Unauthorized(Reason::Mismatch) => 5,
            RefusalKind::Unauthorized(Reason::Expired) => 6,
            RefusalKind::Unauthorized(Reason::NoContext) => 7,
            RefusalKind::BodyTooLarge => 8,
            RefusalKind::BodyTimeout => 9,
            RefusalKind::BodyAborted => 10,
            RefusalKind::Duplicate => 11,
            RefusalKind::InProgress => 12,
            RefusalKind::StoreUnavailable => 13,
        };
        assert!(Refusal::ALL.iter().map(place).eq(0..14));
        let names: std::collections::BTreeSet<_> = Refusal::ALL.iter().map(Refusal::as_str).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
    }
}
