//! The source of tokens, and the one fetch from it that may be under way.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tower_service::Service;

use super::Token;
use crate::time::Tick;

pub(super) struct Source<T: Service<()>> {
    service: T,
    fetch: Option<Fetch<T::Future>>,
}

struct Fetch<F> {
    began: Tick,
    /// Whether it had news for a while and nobody looked: its connection may be dead by now, its time limit over.
    left: bool,
    /// None until the service is ready.
    call: Option<Pin<Box<F>>>,
}

/// A token, and when it was asked for; or why there is none.
pub(super) type Fetched<E> = Result<(Token, Tick), E>;

impl<T: Service<()>> Source<T> {
    pub(super) const fn new(service: T) -> Self {
        Self { service, fetch: None }
    }

    pub(super) const fn is_fetching(&self) -> bool {
        self.fetch.is_some()
    }

    /// Begins a fetch where there is none, and drives it. `left` says that its news were left alone; `lifetime` is that of a
    /// token that does not say.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Tick,
        left: bool,
        lifetime: Duration,
    ) -> Poll<Fetched<T::Error>>
    where
        T: Service<(), Response = Token>,
    {
        // Out of its place meanwhile: one that panics is not polled again.
        let mut fetch = self.fetch.take().unwrap_or(Fetch { began: now, left: false, call: None });
        fetch.left |= left;
        loop {
            let polled = match &mut fetch.call {
                Some(call) => call.as_mut().poll(cx),
                None => match self.service.poll_ready(cx) {
                    Poll::Ready(Ok(())) => {
                        fetch.began = now;
                        fetch.call = Some(Box::pin(self.service.call(())));
                        continue;
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                },
            };
            let Poll::Ready(result) = polled else {
                self.fetch = Some(fetch);
                return Poll::Pending;
            };
            let fetched = result.map(|token| (token, fetch.began));
            let of_use = match &fetched {
                Ok((token, began)) => now < began.after(token.lifetime().unwrap_or(lifetime)),
                Err(_) => false,
            };
            // What came of a fetch that was left alone says nothing about the source, unless it is a token.
            if of_use || !fetch.left {
                return Poll::Ready(fetched);
            }
            fetch = Fetch { began: now, left: false, call: None };
        }
    }
}
