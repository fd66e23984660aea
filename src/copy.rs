//! Copies of requests that may have to be sent again.

use http::Request;

use crate::outcome::{Http, Results};

/// How a request is copied. [`Http`] and [`Results`] clone it, [`CopyWith`] calls a function.
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

/// A protocol whose requests a function copies; made by `copy_with` of a builder.
#[derive(Clone, Copy, Debug)]
pub struct CopyWith<P, F> {
    pub(crate) protocol: P,
    pub(crate) copy: F,
}

impl<P, F: Fn(&Req) -> Option<Req>, Req> CopyRequest<Req> for CopyWith<P, F> {
    fn copy(&self, request: &Req) -> Option<Req> {
        (self.copy)(request)
    }
}
