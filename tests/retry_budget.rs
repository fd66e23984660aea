//! Retries under a budget, through tower: what they cost, what they give back, and what the caller gets when it is empty.

#[path = "support/moody.rs"]
mod moody;

use std::{
    future::{pending, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use moody::Moody;
use portcullis::{
    BoxError,
    breaker::{Circuit, CircuitBreakerLayer},
    outcome::AsRejection,
    retry::{
        Attempt, Attempts, Backoff, Budget, Cause, CopyRequest, Protocol, RetryError, RetryLayer, RetryPolicy,
        RetryPolicyBuilder, Stopped,
    },
    time::{Clock, ManualClock},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// Of the reserve alone.
fn reserve(retries: u32) -> Budget {
    share(0.0, retries)
}

/// Its clock stands still.
fn share(share: f64, reserve: u32) -> Budget {
    Budget::builder().share(share).reserve(reserve).clock(ManualClock::new().clock()).build().unwrap()
}

/// Waits of a second.
fn policy(budget: &Budget) -> RetryPolicyBuilder {
    RetryPolicy::http().backoff(Backoff::constant(SECOND)).budget(budget.clone())
}

type Answer = BoxFuture<'static, Result<Response<()>, BoxError>>;

/// An answer for each call, of which the last is repeated; 0 hangs.
fn script(
    statuses: &'static [u16],
) -> impl Service<Request<()>, Response = Response<()>, Error = BoxError, Future = Answer> + Clone {
    let calls = Arc::new(AtomicUsize::new(0));
    service_fn(move |_| match statuses[calls.fetch_add(1, SeqCst).min(statuses.len() - 1)] {
        0 => pending().boxed(),
        status => ready(Ok(Response::builder().status(status).body(()).unwrap())).boxed(),
    })
}

async fn get(policy: RetryPolicyBuilder, statuses: &'static [u16]) -> Result<Response<()>, RetryError<BoxError>> {
    RetryLayer::new(policy.build().unwrap()).layer(script(statuses)).oneshot(Request::new(())).await
}

fn attempts(response: &Response<()>) -> (u32, Option<Stopped>) {
    let attempts = response.extensions().get::<Attempts>().unwrap();
    (attempts.count(), attempts.stopped())
}

// ===== empty =====

/// Both are what a policy does not copy for each call.
#[tokio::test(start_paused = true)]
async fn a_budget_limits_retries_whose_waits_are_a_users_own_too() {
    let budget = reserve(2);
    let twice = Backoff::custom(|retry, previous, _| if retry == 1 { SECOND } else { previous * 2 });
    let clock = Clock::tokio();
    let start = clock.now();
    let response = get(policy(&budget).max_attempts(9).backoff(twice), &[503]).await.unwrap();
    assert_eq!(attempts(&response), (3, Some(Stopped::BudgetExhausted)));
    assert_eq!(clock.now().since(start), SECOND * 3);
    assert_eq!(budget.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_caller_of_an_empty_budget_gets_the_last_response_or_error_as_it_is() {
    let budget = reserve(1);
    let response = get(policy(&budget).max_attempts(9), &[503, 504]).await.unwrap();
    assert_eq!((response.status().as_u16(), attempts(&response)), (504, (2, Some(Stopped::BudgetExhausted))));
    let response = get(policy(&budget).max_attempts(9), &[503]).await.unwrap();
    assert_eq!(attempts(&response), (1, Some(Stopped::BudgetExhausted)));

    let policy = RetryPolicy::results().budget(budget).build().unwrap();
    let fails = service_fn(|()| ready(Err::<(), BoxError>("number 7".into())));
    let error = RetryLayer::new(policy).layer(fails).oneshot(()).await.unwrap_err();
    assert_eq!((error.attempts(), error.stopped()), (1, Stopped::BudgetExhausted));
    assert_eq!(error.into_inner().unwrap().to_string(), "number 7");
}

#[tokio::test(start_paused = true)]
async fn of_requests_that_all_fail_a_share_is_tried_again() {
    let budget = share(0.2, 10);
    let service = RetryLayer::new(policy(&budget).max_attempts(4).build().unwrap()).layer(script(&[503]));
    let mut made = 0;
    for _ in 0..1_000 {
        made += attempts(&service.clone().oneshot(Request::new(())).await.unwrap()).0;
    }
    assert_eq!(made, 1_000 + 200 + 10);
}

#[tokio::test(start_paused = true)]
async fn one_budget_serves_all_who_have_a_clone_of_it() {
    let budget = reserve(2);
    let other = policy(&budget).max_attempts(2);
    let response = get(policy(&budget).max_attempts(2), &[503]).await.unwrap();
    assert_eq!(attempts(&response), (2, Some(Stopped::Exhausted)));
    budget.try_withdraw().expect("the second").spend();
    assert_eq!(attempts(&get(other, &[503]).await.unwrap()), (1, Some(Stopped::BudgetExhausted)));
}

// ===== what earns =====

#[tokio::test(start_paused = true)]
async fn a_request_earns_once_however_it_ends() {
    for statuses in [&[200][..], &[404], &[501], &[503, 200], &[503, 503, 503]] {
        let budget = share(1.0, 5);
        let response = get(policy(&budget), statuses).await.unwrap();
        let retries = u64::from(attempts(&response).0) - 1;
        assert_eq!(budget.left(), 6 - retries, "{statuses:?}");
    }
    let budget = share(1.0, 0);
    get(policy(&budget).deadline(SECOND * 5), &[0]).await.unwrap_err();
    assert_eq!(budget.left(), 1, "an attempt that the deadline cut was sent");
    get(policy(&budget).max_attempts(1), &[503]).await.unwrap();
    assert_eq!(budget.left(), 2, "without a retry, too");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_by_a_circuit_neither_costs_nor_earns() {
    let circuit = Circuit::builder("test").consecutive_failures(1).build().unwrap();
    circuit.force_open();
    let budget = share(1.0, 3);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy(&budget).build().unwrap()))
        .layer(CircuitBreakerLayer::http(circuit))
        .service(script(&[503]));
    for _ in 0..10 {
        assert!(service.clone().oneshot(Request::new(())).await.unwrap_err().is_rejection());
    }
    assert_eq!(budget.left(), 3);
}

// ===== what costs nothing =====

#[tokio::test(start_paused = true)]
async fn what_is_not_tried_again_costs_nothing() {
    let asks = service_fn(|_: Request<()>| {
        ready(Ok::<_, BoxError>(Response::builder().status(503).header("retry-after", "31").body(()).unwrap()))
    });
    type With = fn(RetryPolicyBuilder) -> RetryPolicyBuilder;
    let cases: [(With, _); 3] = [
        (|policy| policy, Stopped::HintTooLong),
        (|policy| policy.retry_after_max(SECOND * 60).deadline(SECOND * 31), Stopped::Deadline),
        (|policy| policy.max_attempts(1), Stopped::Exhausted),
    ];
    for (with, stopped) in cases {
        let budget = reserve(3);
        let policy = with(policy(&budget)).build().unwrap();
        let response = RetryLayer::new(policy).layer(asks).oneshot(Request::new(())).await.unwrap();
        assert_eq!((attempts(&response).1, budget.left()), (Some(stopped), 3));
    }
    let budget = reserve(3);
    let response = get(policy(&budget).deadline(SECOND), &[503]).await.unwrap();
    assert_eq!((attempts(&response).1, budget.left()), (Some(Stopped::Deadline), 3));
    let service = RetryLayer::new(policy(&budget).build().unwrap()).layer(script(&[503]));
    let response = service.oneshot(Request::post("/").body(()).unwrap()).await.unwrap();
    assert_eq!((attempts(&response).1, budget.left()), (Some(Stopped::NotRepeatable), 3));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_gives_back_what_it_took_and_an_attempt_that_is_made_does_not() {
    for (statuses, passes, left) in [(&[503][..], SECOND / 2, 2), (&[503, 0], SECOND * 2, 1)] {
        let budget = reserve(2);
        let mut service = RetryLayer::new(policy(&budget).build().unwrap()).layer(script(statuses));
        {
            let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
            assert!(call.as_mut().now_or_never().is_none());
            assert_eq!(budget.left(), 1, "taken when the wait begins");
            tokio::time::advance(passes).await;
            assert!(call.as_mut().now_or_never().is_none());
        }
        assert_eq!(budget.left(), left);
    }
}

type Then = fn() -> Poll<Result<(), BoxError>>;

#[tokio::test(start_paused = true)]
async fn a_wait_that_ends_without_an_attempt_gives_back_what_it_took() {
    let cases: [(Then, _); 2] =
        [(|| Poll::Ready(Err("worn out".into())), Stopped::NotReady), (|| Poll::Pending, Stopped::Deadline)];
    for (then, stopped) in cases {
        let budget = share(1.0, 2);
        let policy = policy(&budget).deadline(SECOND * 4).build().unwrap();
        let mut service = RetryLayer::new(policy).layer(Moody { polls: Arc::default(), then });
        let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
        let error = call.as_mut().await.unwrap_err();
        // Before the future is dropped; and the request itself has earned one, not two.
        assert_eq!((error.stopped(), error.attempts(), budget.left()), (stopped, 1, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_woken_after_the_deadline_gives_back_what_it_took() {
    let budget = reserve(2);
    let policy = policy(&budget).deadline(SECOND * 5).build().unwrap();
    let mut service = RetryLayer::new(policy).layer(script(&[503]));
    let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
    assert!(call.as_mut().now_or_never().is_none());
    tokio::time::advance(SECOND * 60).await;
    assert_eq!(call.as_mut().await.unwrap_err().stopped(), Stopped::Deadline);
    assert_eq!(budget.left(), 2);
}

/// Copies every request, and does not know of a second one whether it can be sent; it counts how often it is asked.
#[derive(Clone, Default)]
struct NeverAgain(Arc<AtomicUsize>);

impl Protocol<Request<()>, Response<()>> for NeverAgain {
    fn is_idempotent(&self, _: &Request<()>) -> bool {
        true
    }

    fn reclaim(&self, _: &Request<()>) -> bool {
        self.0.fetch_add(1, SeqCst);
        false
    }

    fn cause(&self, _: &Response<()>) -> Cause {
        panic!("there is no retry")
    }

    fn mark_request(&self, _: &mut Request<()>, _: Attempt) {}

    fn mark_response(&self, response: &mut Response<()>, attempts: Attempts) {
        response.extensions_mut().insert(attempts);
    }
}

impl CopyRequest<Request<()>> for NeverAgain {
    fn copy(&self, request: &Request<()>) -> Option<Request<()>> {
        Some(request.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_cannot_be_sent_gives_back_what_its_retry_took() {
    let (budget, protocol) = (reserve(1), NeverAgain::default());
    let policy = || policy(&budget).protocol(protocol.clone());
    let not_repeatable = (1, Some(Stopped::NotRepeatable));
    for turn in 1..=3 {
        let service = RetryLayer::new(policy().build().unwrap()).layer(script(&[503]));
        assert_eq!(attempts(&service.oneshot(Request::new(())).await.unwrap()), not_repeatable);
        assert_eq!((budget.left(), protocol.0.load(SeqCst)), (1, turn));
    }
    // The same where the attempt was cut, and in tower's own retry service.
    let service = RetryLayer::new(policy().attempt_timeout(SECOND).build().unwrap()).layer(script(&[0]));
    let error = service.oneshot(Request::new(())).await.unwrap_err();
    assert_eq!((error.attempts(), error.stopped(), budget.left()), (1, Stopped::NotRepeatable, 1));
    let service = tower::retry::RetryLayer::new(policy().build().unwrap()).layer(script(&[503]));
    assert_eq!(attempts(&service.oneshot(Request::new(())).await.unwrap()), not_repeatable);
    assert_eq!((budget.left(), protocol.0.load(SeqCst)), (1, 5));

    // A yes would end what was sent before, so it is asked last.
    budget.try_withdraw().unwrap().spend();
    let service = RetryLayer::new(policy().build().unwrap()).layer(script(&[503]));
    let answer = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!((attempts(&answer), protocol.0.load(SeqCst)), ((1, Some(Stopped::BudgetExhausted)), 5));
}

// ===== tower's own retry service =====

#[tokio::test(start_paused = true)]
async fn towers_own_retry_keeps_to_the_budget_too() {
    let budget = share(0.5, 1);
    let policy = policy(&budget).max_attempts(9).build().unwrap();
    let mut service = tower::retry::RetryLayer::new(policy).layer(script(&[503, 200, 503, 503, 503]));
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
        outcomes.push((response.status().as_u16(), attempts(&response)));
    }
    let spent = Some(Stopped::BudgetExhausted);
    assert_eq!(outcomes, [(200, (2, None)), (503, (2, spent)), (503, (1, spent)), (503, (2, spent))]);

    budget.record_request();
    budget.record_request();
    assert_eq!(budget.left(), 1);
    let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
    assert!(call.as_mut().now_or_never().is_none(), "waits");
    assert_eq!(budget.left(), 0);
    call.set(service.ready().await.unwrap().call(Request::new(())));
    assert_eq!(budget.left(), 1);
}
