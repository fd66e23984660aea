//! What retries cost a call that succeeds.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use portcullis_peers::{Budgeted, inner, portcullis, tower_resilience, tower_retry, tower_retry_with_budget};
use tower::Service;

use super::{Bench, Run, poll_call, two_threads};

const OURS: &str = "retry 1 portcullis";
const OURS_BUDGET: &str = "retry 1 portcullis, budget";
const TOWER: &str = "retry 1 tower";
const TOWER_BUDGET: &str = "retry 1 tower, TpsBudget";
const RESILIENCE: &str = "retry 1 tower-resilience";
const RESILIENCE_BUDGET: &str = "retry 1 tower-resilience, token bucket";

pub(super) fn retries(bench: &Bench) {
    service(bench, "retry 1 floor", &inner());
    service(bench, OURS, &portcullis(Budgeted::No));
    service(bench, OURS_BUDGET, &portcullis(Budgeted::Yes));
    service(bench, TOWER, &tower_retry());
    service(bench, TOWER_BUDGET, &tower_retry_with_budget());
    service(bench, RESILIENCE, &tower_resilience(Budgeted::No));
    service(bench, RESILIENCE_BUDGET, &tower_resilience(Budgeted::Yes));
}

/// Calls of one thread, and then of two, each with a clone of its own: what those share they share.
fn service<S: Service<u32, Response = u32> + Clone + Sync>(bench: &Bench, name: &str, shared: &S) {
    let run = |calls| {
        let mut service = shared.clone();
        let start = Instant::now();
        for number in 0..calls {
            let answer = poll_call(&mut service, black_box(number));
            assert!(black_box(answer.is_ok_and(|answer| answer == number)), "{name}");
        }
        start.elapsed()
    };
    let run: Run<'_> = &run;
    bench.one(name, run);
    bench.one(&name.replacen('1', "2", 1), |calls| -> Duration { two_threads(|| run(calls)) });
}

/// Ours beside each of the others, where both were measured.
pub(super) fn ratios(bench: &Bench) {
    let best = bench.best.borrow();
    let nanos = |name: &str| best.iter().find(|(noted, _)| noted == name).map(|(_, nanos)| nanos);
    let pairs = [(OURS, TOWER), (OURS_BUDGET, TOWER_BUDGET), (OURS, RESILIENCE), (OURS_BUDGET, RESILIENCE_BUDGET)];
    for (ours, other) in pairs {
        if let (Some(ours_nanos), Some(other_nanos)) = (nanos(ours), nanos(other)) {
            println!("{:<60} {:8.2}", format!("{ours} / {other}"), ours_nanos / other_nanos);
        }
    }
}
