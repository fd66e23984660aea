//! What every store keeps. Each has these tests, and beside them those of what it alone can get wrong.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;

use super::{
    Backlog, INJECTION_SPAN, INJECTIONS, Job, JobResult, LEASE, Lane, Lease, NewJob, Store, TaskId, TaskState,
};
use crate::trace::TraceContext;

/// How long the stores under test keep results.
pub(super) const TTL: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A queue whose time can be made to pass. Some of it may pass by itself.
pub(super) trait Bench {
    /// The queue as two gateways have it.
    fn gateways(&self) -> [&dyn Store; 2];

    fn pass(&self, span: Duration);
}

/// Makes the tests of a store.
macro_rules! suite {
    (#[$mark:meta] $bench:expr) => {
        suite!(#[$mark] $bench =>
            what_was_pushed_comes_back_as_it_was,
            jobs_are_claimed_once_and_in_order,
            gateways_that_claim_at_once_get_different_jobs,
            a_lane_gives_out_its_own_jobs_alone,
            a_lease_that_is_not_extended_ends_and_its_holder_can_write_nothing,
            a_lease_that_has_ended_holds_until_somebody_claims_the_job,
            a_job_that_was_put_back_waits_and_does_not_count_as_run,
            each_death_of_a_gateway_counts_as_a_run,
            what_follows_from_a_result_is_queued_with_it_or_not_at_all,
            a_job_that_was_discarded_is_gone_and_only_its_holder_can_do_it,
            a_job_has_one_result_and_does_not_run_again,
            results_expire,
            a_backlog_is_what_has_not_ended_and_how_long_the_first_has_waited,
            no_five_minutes_see_more_injections_than_cognigy_takes,
        );
    };
    (#[$mark:meta] $bench:expr => $($name:ident,)+) => {
        $(
            #[tokio::test]
            #[$mark]
            async fn $name() {
                $crate::queue::suite::$name(&$bench).await;
            }
        )+
    };
}
pub(super) use suite;

pub(super) fn id(n: u32) -> TaskId {
    TaskId(format!("{n:032x}"))
}

pub(super) fn new_job(n: u32) -> NewJob {
    NewJob { id: id(n), lane: Lane::Lookups, payload: format!("event {n}"), trace: TraceContext::default() }
}

pub(super) fn result(body: &str) -> JobResult {
    JobResult { status: 200, body: body.into() }
}

pub(super) async fn push(store: &dyn Store, jobs: impl IntoIterator<Item = u32>) {
    for n in jobs {
        store.push(new_job(n)).await.unwrap();
    }
}

/// The next job.
pub(super) async fn claim(store: &dyn Store) -> Option<Job> {
    store.claim(Lane::Lookups, 1).await.unwrap().pop()
}

async fn claimed(store: &dyn Store) -> Job {
    claim(store).await.expect("a job that is due")
}

fn payloads(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.payload.as_str()).collect()
}

pub(super) async fn what_was_pushed_comes_back_as_it_was(bench: &impl Bench) {
    let [one, other] = bench.gateways();
    let payload = r#"{"conversationId":"c ü 🎈","n":12345678901234567890.5e999,"nul":"\u0000"}"#;
    let trace = TraceContext { parent: Some("00-aa-bb-01".into()), state: Some("k=v".into()) };
    one.push(NewJob { payload: payload.into(), trace: trace.clone(), ..new_job(0) }).await.unwrap();
    push(one, [1]).await;
    let jobs = other.claim(Lane::Lookups, 9).await.unwrap();
    assert_eq!(payloads(&jobs), [payload, "event 1"]);
    assert_eq!((&jobs[0].trace.parent, &jobs[0].trace.state), (&trace.parent, &trace.state));
    assert_eq!((&jobs[1].trace.parent, &jobs[1].trace.state), (&None, &None));
    assert_eq!((jobs[0].lease.id.clone(), jobs[0].runs), (id(0), 1));
    assert!(jobs[0].age < 10 * SECOND, "{:?}", jobs[0].age);
}

pub(super) async fn jobs_are_claimed_once_and_in_order(bench: &impl Bench) {
    let [one, other] = bench.gateways();
    push(one, 0..3).await;
    assert_eq!(payloads(&one.claim(Lane::Lookups, 2).await.unwrap()), ["event 0", "event 1"]);
    assert_eq!(payloads(&other.claim(Lane::Lookups, 2).await.unwrap()), ["event 2"]);
    assert!(claim(one).await.is_none());
    assert!(claim(other).await.is_none());
}

pub(super) async fn gateways_that_claim_at_once_get_different_jobs(bench: &impl Bench) {
    let gateways = bench.gateways();
    push(gateways[0], 0..40).await;
    // At first nobody has them, then leases that have ended.
    for runs in 1..=2 {
        let mut jobs = Vec::new();
        // Who was not quick enough may come away with less than there is.
        for _ in 0..10 {
            let claims = (0..10).map(|n| gateways[n % 2].claim(Lane::Lookups, 7));
            jobs.extend(join_all(claims).await.into_iter().flat_map(Result::unwrap));
        }
        let ids: HashSet<_> = jobs.iter().map(|job| job.lease.id.as_str()).collect();
        assert_eq!((jobs.len(), ids.len()), (40, 40));
        assert!(jobs.iter().all(|job| job.runs == runs));
        bench.pass(LEASE);
    }
}

pub(super) async fn a_lane_gives_out_its_own_jobs_alone(bench: &impl Bench) {
    let [store, _] = bench.gateways();
    push(store, [0]).await;
    store.push(NewJob { lane: Lane::Injections, ..new_job(1) }).await.unwrap();
    assert_eq!(payloads(&store.claim(Lane::Injections, 9).await.unwrap()), ["event 1"]);
    assert_eq!(payloads(&store.claim(Lane::Lookups, 9).await.unwrap()), ["event 0"]);
}

pub(super) async fn a_lease_that_is_not_extended_ends_and_its_holder_can_write_nothing(bench: &impl Bench) {
    let [one, other] = bench.gateways();
    // Whoever has the job now, and be it the same gateway.
    for (n, next) in [other, one].into_iter().enumerate() {
        let id = id(u32::try_from(n).unwrap());
        one.push(NewJob { id: id.clone(), ..new_job(0) }).await.unwrap();
        let first = claimed(one).await.lease;
        for _ in 0..3 {
            bench.pass(LEASE / 2);
            assert!(one.extend(&first).await.unwrap());
            assert!(claim(next).await.is_none());
        }
        bench.pass(LEASE);
        let second = claimed(next).await;
        assert_eq!((&second.lease.id, second.runs), (&id, 2));
        refused(one, &first).await;
        assert_eq!(one.state(&id).await.unwrap(), TaskState::Processing);
        assert!(next.finish(&second.lease, result("good"), None).await.unwrap());
        refused(one, &first).await;
        assert_eq!(one.state(&id).await.unwrap(), TaskState::Finished(result("good")));
    }
}

/// Nothing may be written under this lease.
async fn refused(store: &dyn Store, lost: &Lease) {
    let late = new_job(99);
    assert!(!store.extend(lost).await.unwrap());
    assert!(!store.finish(lost, result("late"), Some(late.clone())).await.unwrap());
    assert!(!store.release(lost, Duration::ZERO).await.unwrap());
    assert!(!store.discard(lost).await.unwrap());
    assert_eq!(store.state(&late.id).await.unwrap(), TaskState::Unknown);
}

pub(super) async fn a_lease_that_has_ended_holds_until_somebody_claims_the_job(bench: &impl Bench) {
    let [one, other] = bench.gateways();
    push(one, [0]).await;
    let job = claimed(one).await;
    bench.pass(2 * LEASE);
    assert!(one.extend(&job.lease).await.unwrap());
    assert!(claim(other).await.is_none());
    bench.pass(2 * LEASE);
    assert!(one.finish(&job.lease, result("r"), None).await.unwrap());
    assert!(claim(other).await.is_none());
}

pub(super) async fn a_job_that_was_put_back_waits_and_does_not_count_as_run(bench: &impl Bench) {
    let [one, other] = bench.gateways();
    push(one, [0]).await;
    let job = claimed(one).await;
    assert!(one.release(&job.lease, 5 * SECOND).await.unwrap());
    refused(one, &job.lease).await;
    assert_eq!(other.state(&id(0)).await.unwrap(), TaskState::Processing);
    bench.pass(2 * SECOND);
    assert!(claim(other).await.is_none());
    bench.pass(3 * SECOND);
    let again = claimed(other).await;
    assert_eq!((again.payload.as_str(), again.runs), ("event 0", 1));
    assert!((5 * SECOND..10 * SECOND).contains(&again.age), "{:?}", again.age);
    // It is the same run by number, and another claim all the same.
    refused(one, &job.lease).await;
    assert!(other.release(&again.lease, Duration::ZERO).await.unwrap());
    assert_eq!(claimed(one).await.runs, 1);
}

pub(super) async fn each_death_of_a_gateway_counts_as_a_run(bench: &impl Bench) {
    let [one, other] = bench.gateways();
    push(one, [0]).await;
    for (runs, gateway) in [(1, one), (2, other), (3, other)] {
        assert_eq!(claimed(gateway).await.runs, runs);
        bench.pass(LEASE);
    }
    let job = claimed(one).await;
    assert_eq!(job.runs, 4);
    assert!(one.release(&job.lease, Duration::ZERO).await.unwrap());
    assert_eq!(claimed(other).await.runs, 4);
    bench.pass(LEASE);
    let job = claimed(one).await;
    assert_eq!(job.runs, 5);
    assert!(job.age >= 4 * LEASE, "{:?}", job.age);
}

pub(super) async fn what_follows_from_a_result_is_queued_with_it_or_not_at_all(bench: &impl Bench) {
    let [one, other] = bench.gateways();
    let trace = TraceContext { parent: Some("00-aa-bb-01".into()), state: None };
    let follows = NewJob { lane: Lane::Injections, trace, ..new_job(1) };
    push(one, [0]).await;
    let late = claimed(one).await;
    bench.pass(LEASE);
    let job = claimed(other).await;
    assert!(!one.finish(&late.lease, result("late"), Some(follows.clone())).await.unwrap());
    assert!(one.claim(Lane::Injections, 9).await.unwrap().is_empty());
    assert_eq!(one.state(&id(1)).await.unwrap(), TaskState::Unknown);
    assert!(other.finish(&job.lease, result("r"), Some(follows)).await.unwrap());
    let followed = one.claim(Lane::Injections, 9).await.unwrap();
    assert_eq!((payloads(&followed), followed[0].runs), (vec!["event 1"], 1));
    assert_eq!(followed[0].trace.parent.as_deref(), Some("00-aa-bb-01"));
}

pub(super) async fn a_job_that_was_discarded_is_gone_and_only_its_holder_can_do_it(bench: &impl Bench) {
    let [one, other] = bench.gateways();
    push(one, [0]).await;
    let late = claimed(one).await;
    bench.pass(LEASE);
    let job = claimed(other).await;
    assert!(!one.discard(&late.lease).await.unwrap());
    assert!(other.discard(&job.lease).await.unwrap());
    assert!(!other.discard(&job.lease).await.unwrap());
    assert_eq!(one.state(&id(0)).await.unwrap(), TaskState::Unknown);
    bench.pass(9 * LEASE);
    assert!(claim(one).await.is_none());
}

pub(super) async fn a_job_has_one_result_and_does_not_run_again(bench: &impl Bench) {
    let [one, other] = bench.gateways();
    assert_eq!(one.state(&id(0)).await.unwrap(), TaskState::Unknown);
    push(one, [0]).await;
    assert_eq!(other.state(&id(0)).await.unwrap(), TaskState::Processing);
    let lease = claimed(one).await.lease;
    assert_eq!(other.state(&id(0)).await.unwrap(), TaskState::Processing);
    let refusal = JobResult { status: 500, body: r#"{"error":"ü"}"#.into() };
    assert!(one.finish(&lease, refusal.clone(), None).await.unwrap());
    refused(one, &lease).await;
    bench.pass(2 * LEASE);
    assert!(claim(one).await.is_none());
    assert_eq!(other.state(&id(0)).await.unwrap(), TaskState::Finished(refusal));
}

pub(super) async fn results_expire(bench: &impl Bench) {
    let [one, other] = bench.gateways();
    push(one, [0, 1]).await;
    let job = claimed(one).await;
    assert!(one.finish(&job.lease, result("r"), None).await.unwrap());
    bench.pass(TTL / 2);
    one.sweep().await.unwrap();
    assert_eq!(other.state(&id(0)).await.unwrap(), TaskState::Finished(result("r")));
    bench.pass(TTL / 2);
    assert_eq!(other.state(&id(0)).await.unwrap(), TaskState::Unknown);
    one.sweep().await.unwrap();
    // A job waits as long as it has to.
    assert_eq!(other.state(&id(1)).await.unwrap(), TaskState::Processing);
    assert_eq!(claimed(other).await.payload, "event 1");
}

pub(super) async fn a_backlog_is_what_has_not_ended_and_how_long_the_first_has_waited(bench: &impl Bench) {
    let [one, other] = bench.gateways();
    let backlog = async || other.backlog(Lane::Lookups).await.unwrap();
    let waits = |backlog: Backlog, jobs: u64, seconds: u32| {
        let about = seconds * SECOND..(seconds + 4) * SECOND;
        assert!(backlog.jobs == jobs && about.contains(&backlog.waited), "{backlog:?}, not {jobs} for {seconds} s");
    };
    assert_eq!(backlog().await, Backlog::default());
    push(one, 0..3).await;
    waits(backlog().await, 3, 0);
    let jobs = one.claim(Lane::Lookups, 9).await.unwrap();
    assert_eq!(backlog().await, Backlog { jobs: 3, waited: Duration::ZERO });
    // One that was put back waits from when it is due again.
    assert!(one.release(&jobs[0].lease, 5 * SECOND).await.unwrap());
    assert_eq!(backlog().await, Backlog { jobs: 3, waited: Duration::ZERO });
    bench.pass(10 * SECOND);
    waits(backlog().await, 3, 5);
    let again = claimed(one).await;
    assert!(one.finish(&again.lease, result("r"), None).await.unwrap());
    assert!(one.discard(&jobs[1].lease).await.unwrap());
    // One whose gateway died waits from when its lease ended.
    bench.pass(LEASE);
    waits(backlog().await, 1, 10);
    assert_eq!(other.backlog(Lane::Injections).await.unwrap(), Backlog::default());
}

pub(super) async fn no_five_minutes_see_more_injections_than_cognigy_takes(bench: &impl Bench) {
    let gateways = bench.gateways();
    assert_eq!(gateways[0].allow_injection().await.unwrap(), None);
    bench.pass(100 * SECOND);
    for n in 1..INJECTIONS {
        assert_eq!(gateways[n as usize % 2].allow_injection().await.unwrap(), None);
    }
    for store in gateways {
        let wait = store.allow_injection().await.unwrap().expect("none is left");
        assert!(wait <= INJECTION_SPAN - 100 * SECOND && wait > 180 * SECOND, "{wait:?}");
    }
    bench.pass(200 * SECOND);
    assert_eq!(gateways[0].allow_injection().await.unwrap(), None);
    let wait = gateways[1].allow_injection().await.unwrap().expect("one alone had become free");
    assert!(wait <= 100 * SECOND && wait > 80 * SECOND, "{wait:?}");
}
