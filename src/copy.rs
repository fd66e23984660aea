//! Copies of requests that may have to be sent again.

use http::Request;

use crate::outcome::{Http, Results};

/// How a request is copied. [`Http`] and [`Results`] clone it; a closure is the third way.
pub trait CopyRequest<Req> {
    /// A copy to send later, or none where this request can only be sent once.
    fn copy(&self, request: &Req) -> Option<Req>;
}

impl<B: Clone> CopyRequest<Request<B>> for Http {
    fn copy(&self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

impl<Req: Clone> CopyRequest<Req> for Results {
    fn copy(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

impl<F: Fn(&Req) -> Option<Req>, Req> CopyRequest<Req> for F {
    fn copy(&self, request: &Req) -> Option<Req> {
        self(request)
    }
}
