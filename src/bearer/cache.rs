//! The token that all share, and what replaces it: the one place that synchronises.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use http::HeaderValue;
use tower_service::Service;

use super::{
    NoToken, Token,
    builder::Settings,
    source::{Fetched, Source},
    waiters::Waiters,
};
use crate::{
    BoxError,
    time::{Clock, Tick},
    trace::event,
};

/// The shortest time for which a token is used.
const SHORTEST: Duration = Duration::from_secs(1);

pub(super) struct Cache<T: Service<()>> {
    settings: Settings,
    waiters: Arc<Waiters>,
    state: Mutex<State<T>>,
}

struct State<T: Service<()>> {
    held: Option<Held>,
    failed: Option<Failed>,
    /// When the last token came that a 401 had asked for.
    forced: Option<Tick>,
    /// Whether a 401 asks for the next token.
    forcing: bool,
    /// None while somebody drives it.
    source: Option<Box<Source<T>>>,
}

/// The newest token.
struct Held {
    header: HeaderValue,
    /// Counts tokens, from 1.
    generation: u64,
    refresh: Tick,
    end: Tick,
}

/// How the source failed last, and until when it is left alone.
struct Failed {
    error: NoToken,
    until: Tick,
}

/// A token for one request.
pub(super) struct Usable {
    pub(super) header: HeaderValue,
    pub(super) generation: u64,
    /// Whether it is time to fetch the next.
    pub(super) due: bool,
}

impl<T: Service<()>> Cache<T> {
    pub(super) fn new(source: T, settings: Settings) -> Self {
        let waiters = Arc::new(Waiters::new(settings.clock.clone()));
        let source = Some(Box::new(Source::new(source)));
        let state = Mutex::new(State { held: None, failed: None, forced: None, forcing: false, source });
        Self { settings, waiters, state }
    }

    /// The token while it is good, else the generation of the one that is not.
    pub(super) fn usable(&self) -> Result<Usable, u64> {
        let now = self.clock().now();
        let state = self.lock();
        let good = state.held.as_ref().filter(|held| now < held.end);
        good.map(|held| held.lend(now)).ok_or_else(|| state.generation())
    }

    /// Whether a request that was refused with the token of this generation is worth a repeat; asks for another token where
    /// that one is still the newest. The next who borrows that one fetches, where the refused request does not.
    pub(super) fn refused(&self, generation: u64) -> bool {
        let now = self.clock().now();
        let mut state = self.lock();
        if state.generation() != generation {
            return true;
        }
        let again = state.forced.is_none_or(|at| now.since(at) >= self.settings.refusal_pause);
        if again {
            state.forcing = true;
            if let Some(held) = &mut state.held {
                held.refresh = now;
            }
        }
        again
    }

    fn clock(&self) -> &Clock {
        &self.settings.clock
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing under the lock can panic half-way: no code of others runs there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Service<()>> State<T> {
    fn generation(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.generation)
    }
}

impl Held {
    fn lend(&self, now: Tick) -> Usable {
        Usable { header: self.header.clone(), generation: self.generation, due: now >= self.refresh }
    }
}

/// One who waits for a token that is newer than `after`, and drives the fetch like all who do.
pub(super) struct Waiting<T: Service<()>> {
    cache: Arc<Cache<T>>,
    number: u64,
    after: u64,
}

impl<T: Service<()>> Waiting<T> {
    pub(super) fn new(cache: &Arc<Cache<T>>, after: u64) -> Self {
        Self { cache: Arc::clone(cache), number: cache.waiters.join(), after }
    }
}

impl<T> Waiting<T>
where
    T: Service<(), Response = Token>,
    T::Error: Into<BoxError>,
{
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Usable, NoToken>> {
        let cache = &*self.cache;
        // First of all: news that come from here on are heard.
        cache.waiters.wait(self.number, cx.waker());
        loop {
            let now = cache.clock().now();
            let mut state = cache.lock();
            if let Some(held) = state.held.as_ref().filter(|held| held.generation > self.after) {
                return Poll::Ready(Ok(held.lend(now)));
            }
            if let Some(failed) = state.failed.as_ref().filter(|failed| now < failed.until) {
                return Poll::Ready(Err(failed.error.clone()));
            }
            // Where somebody drives it, or there is nothing to drive it for, news will come.
            let Some(source) = state.source.take_if(|source| !source.is_fetching() || cache.waiters.has_news()) else {
                return Poll::Pending;
            };
            drop(state);
            match cache.drive(source, now) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<T: Service<()>> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.cache.waiters.leave(self.number);
    }
}

impl<T> Cache<T>
where
    T: Service<(), Response = Token>,
    T::Error: Into<BoxError>,
{
    /// Waits until there is a token that is good; `waiting` is the caller's place among those who do.
    pub(super) fn poll_ready(
        self: &Arc<Self>,
        waiting: &mut Option<Waiting<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), NoToken>> {
        let ready = match self.usable() {
            Ok(_) => Ok(()),
            Err(generation) => {
                let waiting = waiting.get_or_insert_with(|| Waiting::new(self, generation));
                ready!(waiting.poll(cx)).map(drop)
            }
        };
        *waiting = None;
        Poll::Ready(ready)
    }

    /// Polls the fetch, which wakes all who wait, and puts down what it brought.
    fn drive(&self, source: Box<Source<T>>, now: Tick) -> Poll<Result<(), NoToken>> {
        let mut driven = Driven { cache: self, source: Some(source), told: true };
        let Some(source) = &mut driven.source else { return Poll::Pending };
        let left = match self.waiters.take_news() {
            Some(since) if source.is_fetching() => now.since(since) > self.settings.failure_pause,
            _ => false,
        };
        let waker = Waker::from(Arc::clone(&self.waiters));
        match source.poll(&mut Context::from_waker(&waker), now, left, self.settings.lifetime) {
            Poll::Ready(fetched) => Poll::Ready(self.settle(fetched)),
            Poll::Pending => {
                driven.told = false;
                Poll::Pending
            }
        }
    }

    fn settle(&self, fetched: Fetched<T::Error>) -> Result<(), NoToken> {
        let now = self.clock().now();
        match fetched {
            Ok((token, began)) => {
                let lifetime = token.lifetime().unwrap_or(self.settings.lifetime);
                let ahead = self.settings.ahead(lifetime);
                let [refresh, end] =
                    [lifetime.saturating_sub(ahead), lifetime].map(|span| began.after(span).max(now.after(SHORTEST)));
                let header = token.into_header();
                let mut state = self.lock();
                let generation = state.generation() + 1;
                state.held = Some(Held { header, generation, refresh, end });
                if mem::take(&mut state.forcing) {
                    state.forced = Some(now);
                }
                drop(state);
                event!(DEBUG, "token fetched", generation = generation, lifetime = format_args!("{lifetime:?}"));
                Ok(())
            }
            Err(error) => {
                let error = NoToken::new(error.into());
                let until = now.after(self.settings.pause());
                let mut state = self.lock();
                let good = state.held.as_ref().is_some_and(|held| now < held.end);
                let old = state.failed.replace(Failed { error: error.clone(), until });
                drop(state);
                drop(old);
                event!(WARN, "token not fetched", error = format_args!("{}", error.cause()), old_is_good = good);
                Err(error)
            }
        }
    }
}

/// Puts the source back, whatever happened, and tells of it.
struct Driven<'a, T: Service<()>> {
    cache: &'a Cache<T>,
    source: Option<Box<Source<T>>>,
    /// Whether those who wait have to look again.
    told: bool,
}

impl<T: Service<()>> Drop for Driven<'_, T> {
    fn drop(&mut self) {
        self.cache.lock().source = self.source.take();
        // News that came meanwhile found nothing to drive.
        if self.told || self.cache.waiters.has_news() {
            self.cache.waiters.rouse();
        }
    }
}
