//! What a policy has to know about requests and responses beyond their outcome.

use http::{HeaderName, Method, Request, Response};

use super::{Attempt, Attempts, Cause, CopyRequest, Deadline};
use crate::{
    outcome::{Http, Results},
    replay::reclaim,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What retries know about a protocol. [`Http`] and [`Results`] implement it; for one of your own, which needs
/// [`CopyRequest`] too, give it to [`RetryPolicyBuilder::protocol`](super::RetryPolicyBuilder::protocol).
///
/// ```
/// use portcullis::retry::{Attempt, Attempts, Cause, CopyRequest, Protocol, RetryPolicy};
///
/// #[derive(Clone)]
/// struct Command {
///     text: String,
///     attempt: u32,
/// }
///
/// #[derive(Clone)]
/// struct Commands;
///
/// impl Protocol<Command, String> for Commands {
///     fn is_idempotent(&self, command: &Command) -> bool {
///         command.text.starts_with("GET ")
///     }
///     fn cause(&self, _: &String) -> Cause {
///         Cause::Response
///     }
///     fn mark_request(&self, command: &mut Command, attempt: Attempt) {
///         command.attempt = attempt.number();
///     }
///     fn mark_response(&self, _: &mut String, _: Attempts) {}
/// }
///
/// impl CopyRequest<Command> for Commands {
///     fn copy(&self, command: &Command) -> Option<Command> {
///         Some(command.clone())
///     }
/// }
///
/// let policy = RetryPolicy::results().protocol(Commands).build()?;
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
pub trait Protocol<Req, Res> {
    /// Whether sending `request` twice has the effect of sending it once.
    fn is_idempotent(&self, request: &Req) -> bool;

    /// Whether `copy`, which was made when the original was sent, can still be sent itself; always, unless a protocol says
    /// otherwise.
    ///
    /// It is asked once for each retry, when everything else speaks for it. Where the answer is yes, the original is over, and takes
    /// nothing more of what the two share; where it is no, the original goes on, and its result goes back to the caller, if it had one: it may have been cut.
    fn reclaim(&self, copy: &Req) -> bool {
        let _ = copy;
        true
    }

    /// What `response` says when it makes a retry necessary.
    fn cause(&self, response: &Res) -> Cause;

    /// Puts `attempt` where the inner service finds it, if there is such a place.
    fn mark_request(&self, request: &mut Req, attempt: Attempt);

    /// Puts `attempts` where the caller finds it, if there is such a place.
    fn mark_response(&self, response: &mut Res, attempts: Attempts);

    /// Until when the caller waits for `request`, where it says so; it does not unless a protocol has a place for that.
    fn deadline(&self, request: &Req) -> Option<Deadline> {
        let _ = request;
        None
    }

    /// Puts `deadline` where the inner service finds it, if there is such a place.
    fn mark_deadline(&self, request: &mut Req, deadline: Deadline) {
        let _ = (request, deadline);
    }
}

/// Idempotent are `GET`, `HEAD`, `PUT`, `DELETE`, `OPTIONS` and `TRACE` (RFC 9110 §9.2.2), and every request with an
/// `Idempotency-Key`. A copy whose body a [`ReplayLayer`](super::ReplayLayer) keeps can be sent as long as all of it is kept.
impl<B, ResB> Protocol<Request<B>, Response<ResB>> for Http {
    fn is_idempotent(&self, request: &Request<B>) -> bool {
        const IDEMPOTENT: [Method; 6] =
            [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE];
        IDEMPOTENT.contains(request.method()) || request.headers().contains_key(IDEMPOTENCY_KEY)
    }

    fn reclaim(&self, copy: &Request<B>) -> bool {
        reclaim(copy.extensions())
    }

    fn cause(&self, response: &Response<ResB>) -> Cause {
        Cause::Status(response.status())
    }

    fn mark_request(&self, request: &mut Request<B>, attempt: Attempt) {
        request.extensions_mut().insert(attempt);
    }

    fn mark_response(&self, response: &mut Response<ResB>, attempts: Attempts) {
        response.extensions_mut().insert(attempts);
    }

    fn deadline(&self, request: &Request<B>) -> Option<Deadline> {
        request.extensions().get().copied()
    }

    fn mark_deadline(&self, request: &mut Request<B>, deadline: Deadline) {
        request.extensions_mut().insert(deadline);
    }
}

/// Every request counts as idempotent, and there is no place for marks.
impl<Req, Res> Protocol<Req, Res> for Results {
    fn is_idempotent(&self, _: &Req) -> bool {
        true
    }

    fn cause(&self, _: &Res) -> Cause {
        Cause::Response
    }

    fn mark_request(&self, _: &mut Req, _: Attempt) {}

    fn mark_response(&self, _: &mut Res, _: Attempts) {}
}

/// A protocol whose requests a function copies: see [`copy_with`](super::RetryPolicyBuilder::copy_with).
#[derive(Clone, Copy, Debug)]
pub struct CopyWith<P, F> {
    pub(super) protocol: P,
    pub(super) copy: F,
}

impl<P: Protocol<Req, Res>, F, Req, Res> Protocol<Req, Res> for CopyWith<P, F> {
    fn is_idempotent(&self, request: &Req) -> bool {
        self.protocol.is_idempotent(request)
    }

    fn reclaim(&self, copy: &Req) -> bool {
        self.protocol.reclaim(copy)
    }

    fn cause(&self, response: &Res) -> Cause {
        self.protocol.cause(response)
    }

    fn mark_request(&self, request: &mut Req, attempt: Attempt) {
        self.protocol.mark_request(request, attempt);
    }

    fn mark_response(&self, response: &mut Res, attempts: Attempts) {
        self.protocol.mark_response(response, attempts);
    }

    fn deadline(&self, request: &Req) -> Option<Deadline> {
        self.protocol.deadline(request)
    }

    fn mark_deadline(&self, request: &mut Req, deadline: Deadline) {
        self.protocol.mark_deadline(request, deadline);
    }
}

impl<P, F: Fn(&Req) -> Option<Req>, Req> CopyRequest<Req> for CopyWith<P, F> {
    fn copy(&self, request: &Req) -> Option<Req> {
        (self.copy)(request)
    }
}
