//! The retries that are measured: portcullis's and others', around a service that is ready at once and never fails.
//!
//! Each tries three times at most, and waits exponentially with jitter; a budget lets retries be a fifth of the requests. On
//! success, which is what is measured, that is work for the one and not for the other.

#[path = "../../support/towers.rs"]
mod towers;

use portcullis::retry::{Backoff, Budget, RetryLayer, RetryPolicy};
use tower::{Layer, Service};
use tower_resilience_retry::{RetryBudgetBuilder, RetryLayer as Resilience};

use self::towers::{Failed, LEAST, MOST, WINDOW};

/// Whether the retries have a budget, which is made here: clones of the service share it.
#[derive(Clone, Copy, PartialEq)]
pub enum Budgeted {
    No,
    Yes,
}

pub fn inner() -> impl Service<u32, Response = u32> + Clone + Sync {
    towers::inner()
}

pub fn portcullis(budgeted: Budgeted) -> impl Service<u32, Response = u32> + Clone + Sync {
    let mut policy = RetryPolicy::results().max_attempts(3).backoff(Backoff::exponential(LEAST, MOST));
    if budgeted == Budgeted::Yes {
        let budget = Budget::builder().share(0.2).reserve(10).window(WINDOW);
        policy = policy.budget(budget.build().expect("the settings are sound"));
    }
    RetryLayer::new(policy.build().expect("the settings are sound")).layer(towers::inner())
}

pub fn tower_retry() -> impl Service<u32, Response = u32> + Clone + Sync {
    towers::tower_retry()
}

pub fn tower_retry_with_budget() -> impl Service<u32, Response = u32> + Clone + Sync {
    towers::tower_retry_with_budget()
}

pub fn tower_resilience(budgeted: Budgeted) -> impl Service<u32, Response = u32> + Clone + Sync {
    let mut retries = Resilience::<u32, u32, Failed>::builder().max_attempts(3).exponential_backoff(LEAST);
    if budgeted == Budgeted::Yes {
        let budget = RetryBudgetBuilder::new().token_bucket().tokens_per_second(10.0).max_tokens(100);
        retries = retries.budget(budget.build().expect("the settings are sound"));
    }
    retries.build().layer(towers::inner())
}
