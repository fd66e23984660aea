//! tower's own retry, with its own backoff and with its own budget, and the service that all retries are measured around: ready
//! at once, and never failing.

use std::{
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

use portcullis::outcome::AsRejection;
use tower::{
    Layer, Service,
    retry::{
        Policy,
        backoff::{Backoff as _, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff},
        budget::{Budget as _, TpsBudget},
    },
    service_fn,
    util::{ServiceFn, rng::HasherRng},
};

pub(crate) const LEAST: Duration = Duration::from_millis(100);
pub(crate) const MOST: Duration = Duration::from_secs(20);
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// The error that never comes.
#[derive(Clone, Debug)]
pub(crate) struct Failed;

impl AsRejection for Failed {}

pub(crate) type Answer = Ready<Result<u32, Failed>>;

pub(crate) fn inner() -> ServiceFn<fn(u32) -> Answer> {
    service_fn(|number| ready(Ok(number)))
}

/// A policy for tower's own retry, as its documentation shows one.
#[derive(Clone)]
struct Towers {
    left: u32,
    backoff: ExponentialBackoff,
}

impl Towers {
    fn new() -> Self {
        let maker = ExponentialBackoffMaker::new(LEAST, MOST, 0.5, HasherRng::new());
        Self { left: 2, backoff: maker.expect("the settings are sound").make_backoff() }
    }
}

impl Policy<u32, u32, Failed> for Towers {
    type Future = <ExponentialBackoff as tower::retry::backoff::Backoff>::Future;

    fn retry(&mut self, _: &mut u32, result: &mut Result<u32, Failed>) -> Option<Self::Future> {
        if result.is_ok() || self.left == 0 {
            return None;
        }
        self.left -= 1;
        Some(self.backoff.next_backoff())
    }

    fn clone_request(&mut self, number: &u32) -> Option<u32> {
        Some(*number)
    }
}

/// The same with a budget.
#[derive(Clone)]
struct TowersBudget(Towers, Arc<TpsBudget>);

impl Policy<u32, u32, Failed> for TowersBudget {
    type Future = <Towers as Policy<u32, u32, Failed>>::Future;

    fn retry(&mut self, number: &mut u32, result: &mut Result<u32, Failed>) -> Option<Self::Future> {
        if result.is_ok() {
            self.1.deposit();
            return None;
        }
        if self.0.left > 0 && self.1.withdraw() { self.0.retry(number, result) } else { None }
    }

    fn clone_request(&mut self, number: &u32) -> Option<u32> {
        self.0.clone_request(number)
    }
}

pub(crate) fn tower_retry() -> impl Service<u32, Response = u32> + Clone + Sync {
    tower::retry::RetryLayer::new(Towers::new()).layer(inner())
}

pub(crate) fn tower_retry_with_budget() -> impl Service<u32, Response = u32> + Clone + Sync {
    let budget = Arc::new(TpsBudget::new(WINDOW, 1, 0.2));
    tower::retry::RetryLayer::new(TowersBudget(Towers::new(), budget)).layer(inner())
}
