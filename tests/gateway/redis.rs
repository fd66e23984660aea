//! The queue on Redis: shared by gateways, away for a while, and back again.
//!
//! Leases run out for real here, so most of this waits at once.

use std::time::Instant;

use serde_json::json;

use crate::{
    crashes::{self, Heir},
    faults, inject, queue,
    support::{
        Answer, Downstream, Gateway, Message, PASSWORD, RECOVERY, RedisServer, Request, SECRET, Setup, eventually,
        millis_of, pause, within,
    },
};

/// A webhook is answered within this.
const ANSWER: std::time::Duration = millis_of(5_000);
const EVENT: &str = r#"{"conversationId":"c-1"}"#;

fn setup(downstream: &Downstream, redis: &RedisServer) -> Setup {
    Setup::new(downstream.url()).set("QUEUE_URL", redis.url())
}

async fn ended(gateway: &Gateway, task: &str) -> Message {
    within(RECOVERY, "the end of a job", async || {
        let response = gateway.status(task).await;
        (!matches!(response.status(), 202 | 503)).then_some(response)
    })
    .await
}

/// The queue is away: said in time, with the time to come back.
async fn refused(gateway: &Gateway) {
    let started = Instant::now();
    let answer = gateway.send(Request::queued(EVENT).signed(SECRET)).await;
    assert_eq!(answer.answer(), (503, json!({ "error": "queue_unavailable" })));
    assert!(answer.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()), "{answer:?}");
    assert!(started.elapsed() < ANSWER, "{:?}", started.elapsed());
    let status = gateway.status(&"0".repeat(32)).await;
    assert_eq!(status.answer(), (503, json!({ "error": "queue_unavailable" })));
    let health = gateway.get("/health").await;
    assert_eq!((health.status(), &health.json()["status"]), (503, &json!("unavailable")));
    assert_eq!(health.json()["queue"], json!({ "backend": "redis", "ready": false }));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn gateways_on_one_redis_share_jobs_and_results() {
    let redis = RedisServer::start();
    let (one, other) = queue::share_the_jobs_and_not_the_circuit(&[("QUEUE_URL", &redis.url())]).await;
    let health = other.get("/health").await;
    assert_eq!((health.status(), &health.json()["queue"]), (200, &json!({ "backend": "redis", "ready": true })));
    assert_eq!(one.status(&"0".repeat(32)).await.answer(), (404, json!({ "error": "unknown_task" })));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn jobs_outlive_their_gateway() {
    let servers = [(); 4].map(|()| RedisServer::start());
    let urls = servers.each_ref().map(RedisServer::url);
    let [first, second, third, fourth] = urls.each_ref().map(|url| [("QUEUE_URL", url.as_str())]);
    tokio::join!(
        crashes::another_gateway_finishes_them(&first),
        crashes::a_job_that_keeps_killing_gateways_ends(&second),
        crashes::a_long_job_is_left_to_a_gateway_that_lives(&third),
        crashes::a_gateway_that_was_asleep_changes_no_result(&fourth),
    );
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_gateway_may_be_killed_at_any_stage() {
    let servers = [(); 7].map(|()| RedisServer::start());
    let urls = servers.each_ref().map(RedisServer::url);
    let [first, second, third, fourth, fifth, sixth, seventh] =
        urls.each_ref().map(|url| [("QUEUE_URL", url.as_str())]);
    tokio::join!(
        faults::dies_before_the_commit(Heir::Itself, &first),
        faults::dies_before_the_commit(Heir::Another, &second),
        crashes::dies_right_after_the_answers(Heir::Itself, &third),
        crashes::dies_right_after_the_answers(Heir::Another, &fourth),
        // While jobs run; `jobs_outlive_their_gateway` has another one.
        crashes::the_same_gateway_finishes_them_after_its_restart(&fifth),
        faults::dies_before_the_record(Heir::Itself, &sixth),
        faults::dies_before_the_record(Heir::Another, &seventh),
    );
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_job_that_a_shutdown_breaks_off_is_run_by_another_gateway_at_once() {
    let redis = RedisServer::start();
    let downstream = Downstream::start(Answer::hang()).await;
    let setup = setup(&downstream, &redis).set("SHUTDOWN_TIMEOUT", "100ms").set("JOB_MAX_RUNS", "1");
    let mut one = setup.start().await;
    let task = one.enqueue(EVENT).await;
    downstream.called(1).await;
    downstream.always(Answer::ok());
    let other = setup.start().await;
    one.signal("TERM").await;
    assert_eq!(one.exit(millis_of(5_000)).await, Some(0));
    let result = other.result_within(millis_of(5_000), &task).await;
    assert_eq!(result.json()["nextNode"], "continue_dialog");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn nothing_accepted_is_lost_when_redis_dies_and_comes_back() {
    let mut redis = RedisServer::start();
    let downstream = Downstream::start(Answer::ok().after(millis_of(1000))).await;
    let setup = setup(&downstream, &redis).set("QUEUE_CONCURRENCY", "2");
    let (one, other) = tokio::join!(setup.start(), setup.start());
    let first = one.enqueue(EVENT).await;
    ended(&other, &first).await;
    let mut accepted = vec![first];
    for gateway in [&one, &other, &one, &other, &one, &other] {
        accepted.push(gateway.enqueue(EVENT).await);
    }
    // Four run, and two wait.
    downstream.called(5).await;
    let (address, webhook) = (one.address, Request::queued(EVENT).signed(SECRET));
    let webhooks = tokio::spawn(async move {
        let mut answers = Vec::new();
        for _ in 0..30 {
            answers.push(webhook.clone().send(address).await.expect("an answer"));
            pause(50).await;
        }
        answers
    });
    pause(300).await;
    redis.down();
    refused(&other).await;
    // The jobs that run end meanwhile.
    pause(1200).await;
    redis.up();
    for answer in webhooks.await.unwrap() {
        match answer.status() {
            200 => accepted.push(answer.json()["taskId"].as_str().expect("a task").to_owned()),
            status => assert_eq!(status, 503),
        }
    }
    downstream.always(Answer::ok());
    for task in &accepted {
        for gateway in [&one, &other] {
            assert_eq!(ended(gateway, task).await.json()["nextNode"], "continue_dialog");
        }
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_redis_that_is_away_or_hangs_is_a_503_and_waited_for() {
    let mut redis = RedisServer::away();
    let downstream = Downstream::start(Answer::ok()).await;
    let gateway = setup(&downstream, &redis).start().await;
    refused(&gateway).await;
    assert_eq!(gateway.call().await, 200, "the proxied route needs no queue");
    redis.up();
    gateway.until_ready().await;
    assert_eq!(gateway.job().await.0, 200);

    redis.signal("STOP");
    refused(&gateway).await;
    assert_eq!(gateway.call().await, 200, "the proxied route needs no queue");
    redis.signal("CONT");
    gateway.until_ready().await;
    assert_eq!(gateway.job().await.0, 200);

    redis.down();
    refused(&gateway).await;
    redis.up();
    gateway.until_ready().await;
    assert_eq!(gateway.job().await.0, 200);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_redis_that_has_forgotten_everything_is_used_anew() {
    let redis = RedisServer::start();
    let downstream = Downstream::start(Answer::ok()).await;
    let cognigy = Downstream::start(Answer::status(200)).await;
    let gateway = setup(&downstream, &redis).set("COGNIGY_INJECT_URL", cognigy.url()).start().await;
    let task = gateway.enqueue(EVENT).await;
    gateway.result(&task).await;
    cognigy.called(1).await;
    redis::cmd("FLUSHALL").exec(&mut redis.connect()).unwrap();
    assert_eq!(gateway.status(&task).await.status(), 404);
    assert_eq!(gateway.job().await.0, 200);
    cognigy.called(2).await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_redis_that_takes_no_writes_is_not_ready() {
    let redis = RedisServer::start();
    let downstream = Downstream::start(Answer::ok()).await;
    let gateway = setup(&downstream, &redis).start().await;
    gateway.until_ready().await;
    let set =
        |memory: &str| redis::cmd("CONFIG").arg(&["SET", "maxmemory", memory]).exec(&mut redis.connect()).unwrap();
    set("1");
    let answer = gateway.send(Request::queued(EVENT).signed(SECRET)).await;
    assert_eq!(answer.answer(), (503, json!({ "error": "queue_unavailable" })));
    assert_eq!(gateway.get("/health").await.status(), 503);
    set("0");
    gateway.until_ready().await;
    assert_eq!(gateway.job().await.0, 200);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn cognigy_sees_no_more_requests_of_all_gateways_than_it_takes() {
    let redis = RedisServer::start();
    let (_downstream, cognigy, setup) = inject::start().await;
    let setup = setup.set("QUEUE_URL", redis.url());
    let (one, other) = tokio::join!(setup.start(), setup.start());
    inject::assert_no_more_than_it_takes(&[one, other], &cognigy).await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn the_password_is_in_no_log() {
    let redis = RedisServer::start();
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = setup(&downstream, &redis).set("RUST_LOG", "trace");
    let gateway = setup.start().await;
    assert_eq!(gateway.job().await.0, 200);
    assert!(!gateway.stderr().contains(PASSWORD));

    let wrong = redis.url().replace(PASSWORD, "wr0ng-pa55");
    let gateway = setup.set("QUEUE_URL", wrong).start().await;
    refused(&gateway).await;
    eventually("why", async || gateway.stderr().contains("authentication failed").then_some(())).await;
    assert!(!gateway.stderr().contains("wr0ng-pa55"), "{}", gateway.stderr());
}
