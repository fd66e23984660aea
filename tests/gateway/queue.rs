//! The queue on SQLite: locked, shared, in memory, and what it forgets.

use std::{collections::HashSet, time::Instant};

use rusqlite::Connection;
use serde_json::json;

use crate::support::{
    Answer, Downstream, Gateway, PATIENCE, Request, SECRET, Setup, eventually, millis_of, pause, start,
};

#[tokio::test]
async fn a_locked_database_is_a_503_while_the_proxied_route_goes_on() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url());
    let gateway = setup.start().await;
    gateway.job().await;

    let lock = Connection::open(setup.path("queue.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let started = Instant::now();
    let queued = gateway.send(Request::queued(r#"{"conversationId":"c-1"}"#).signed(SECRET));
    let proxied = async {
        let started = Instant::now();
        assert_eq!(gateway.call().await, 200);
        assert_eq!(gateway.get("/metrics").await.status(), 200);
        started.elapsed()
    };
    let (queued, proxied) = tokio::join!(queued, proxied);
    assert_eq!(queued.answer(), (503, json!({ "error": "queue_unavailable" })));
    assert!(queued.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()), "{queued:?}");
    assert!(started.elapsed() < millis_of(6000), "{:?}", started.elapsed());
    assert!(proxied < millis_of(1500), "{proxied:?}");

    lock.execute_batch("ROLLBACK").unwrap();
    eventually("jobs are taken again", async || {
        let request = Request::queued(r#"{"conversationId":"c-2"}"#).signed(SECRET);
        (gateway.send(request).await.status() == 200).then_some(())
    })
    .await;
    assert_eq!(gateway.job().await.0, 200);
    let health = gateway.get("/health").await;
    assert_eq!((health.status(), &health.json()["queue"]["ready"]), (200, &json!(true)));
    // What was refused has not been taken in secret.
    let conversations = downstream.bodies();
    assert_eq!(conversations.iter().filter(|body| body["conversationId"] == "c-1").count(), 2, "{conversations:?}");
}

#[tokio::test]
async fn a_full_disk_is_a_503_while_the_proxied_route_goes_on() {
    let downstream = Downstream::start(Answer::hang()).await;
    let gateway = Setup::new(downstream.url()).files_of_at_most(256).start().await;
    gateway.until_ready().await;
    let webhook = Request::queued(r#"{"conversationId":"c-1"}"#).signed(SECRET);
    let refused = eventually("the disk is full", async || {
        let answer = gateway.send(webhook.clone()).await;
        (answer.status() != 200).then_some(answer)
    })
    .await;
    assert_eq!(refused.answer(), (503, json!({ "error": "queue_unavailable" })));
    // It is smaller than a job, so there may be room for some more of it.
    let asked = async || gateway.get("/health").await;
    eventually("it is said", async || (asked().await.status() != 200).then_some(())).await;
    for _ in 0..50 {
        let health = asked().await;
        assert_eq!((health.status(), &health.json()["status"]), (503, &json!("unavailable")));
    }
    downstream.always(Answer::ok());
    assert_eq!(gateway.call().await, 200);
}

#[tokio::test]
async fn a_lock_that_is_held_for_a_moment_is_waited_out() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url());
    let gateway = setup.start().await;
    let lock = Connection::open(setup.path("queue.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let queued = gateway.send(Request::queued(r#"{"conversationId":"c-1"}"#).signed(SECRET));
    let release = async {
        pause(300).await;
        lock.execute_batch("COMMIT").unwrap();
    };
    let (queued, ()) = tokio::join!(queued, release);
    assert_eq!(queued.status(), 200);
}

#[tokio::test]
async fn a_job_that_ends_while_the_database_is_locked_keeps_its_result() {
    let downstream = Downstream::start(Answer::ok().after(millis_of(300))).await;
    let setup = Setup::new(downstream.url());
    let gateway = setup.start().await;
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    downstream.called(1).await;
    let lock = Connection::open(setup.path("queue.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    pause(6000).await;
    lock.execute_batch("ROLLBACK").unwrap();
    assert_eq!(gateway.result(&task).await.json()["nextNode"], "continue_dialog");
    // Nobody died, so it ran once.
    assert_eq!(downstream.calls(), 1);
}

#[tokio::test]
async fn gateways_on_one_file_share_the_jobs_and_not_the_circuit() {
    share_the_jobs_and_not_the_circuit(&[]).await;
}

/// Two gateways on one queue, whichever it is.
pub(crate) async fn share_the_jobs_and_not_the_circuit(settings: &[(&str, &str)]) -> (Gateway, Gateway) {
    let downstream = Downstream::start(Answer::ok().after(millis_of(20))).await;
    let setup = Setup::new(downstream.url()).set("BREAKER_CONSECUTIVE_FAILURES", "1").set("RETRY_MAX_ATTEMPTS", "1");
    let setup = setup.with(settings);
    let (one, other) = tokio::join!(setup.start(), setup.start());
    let mut tasks = Vec::new();
    for n in 0..10 {
        for gateway in [&one, &other] {
            tasks.push(gateway.enqueue(format!(r#"{{"conversationId":"c-{n}"}}"#)).await);
        }
    }
    for task in &tasks {
        let results = [one.result(task).await.answer(), other.result(task).await.answer()];
        assert_eq!(results[0], results[1]);
        assert_eq!((results[0].0, &results[0].1["nextNode"]), (200, &json!("continue_dialog")));
    }
    assert_eq!(downstream.calls(), 20);
    assert_eq!(downstream.keys().into_iter().collect::<HashSet<_>>(), tasks.into_iter().collect());

    downstream.next([Answer::status(500)]);
    assert_eq!(one.call().await, 502);
    assert_eq!(one.circuit().await["state"], "open");
    assert_eq!(other.circuit().await["state"], "closed");
    (one, other)
}

#[tokio::test]
async fn results_outlive_a_restart_and_not_their_time() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url());
    let gateway = setup.start().await;
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    let result = gateway.result(&task).await.answer();
    gateway.kill().await;
    let gateway = setup.start().await;
    assert_eq!(gateway.status(&task).await.answer(), result);
    assert_eq!(downstream.calls(), 1);
    gateway.kill().await;

    let gateway = setup.set("RESULT_TTL", "1s").start().await;
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    assert_eq!(gateway.result(&task).await.status(), 200);
    eventually("the result is forgotten", async || {
        let response = gateway.status(&task).await;
        (response.answer() == (404, json!({ "error": "unknown_task" }))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_queue_can_live_in_memory() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url()).set("QUEUE_URL", "sqlite::memory:");
    let gateway = setup.start().await;
    assert_eq!(gateway.job().await.1["nextNode"], "continue_dialog");
    let files: Vec<_> = std::fs::read_dir(setup.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(files.is_empty(), "{files:?}");
}

#[tokio::test]
async fn a_burst_of_webhooks_is_taken_whole() {
    let (downstream, gateway) = start().await;
    let webhooks = (0..200).map(|n| gateway.enqueue(format!(r#"{{"conversationId":"c-{n}"}}"#)));
    let tasks: HashSet<_> = futures_util::future::join_all(webhooks).await.into_iter().collect();
    assert_eq!(tasks.len(), 200);
    let received = downstream.called(200).await;
    let conversations: HashSet<_> = received.iter().map(|request| request.text().to_owned()).collect();
    assert_eq!(conversations.len(), 200);
    for task in &tasks {
        assert_eq!(gateway.result(task).await.status(), 200);
    }
    assert_eq!(downstream.calls(), 200);
}

#[tokio::test]
async fn results_that_have_expired_are_deleted_however_many_there_are() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url());
    let mut gateway = setup.start().await;
    gateway.signal("TERM").await;
    gateway.exit(PATIENCE).await;
    // What finishes within minutes on a fast machine.
    let mut queue = Connection::open(setup.path("queue.db")).unwrap();
    let transaction = queue.transaction().unwrap();
    for n in 0..100_000 {
        transaction
            .prepare_cached(
                "INSERT INTO jobs (id, lane, state, due, accepted, payload, status, result)
                 VALUES (?, 'lookups', 'done', 0, 0, '', 200, '{}')",
            )
            .unwrap()
            .execute([format!("{n:032x}")])
            .unwrap();
    }
    transaction.commit().unwrap();
    let _gateway = setup.start().await;
    eventually("the last of them is gone", async || {
        let left = queue.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, u32>(0)).unwrap();
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_start_says_how_many_jobs_it_found() {
    let downstream = Downstream::start(Answer::hang()).await;
    let setup = Setup::new(downstream.url()).set("QUEUE_CONCURRENCY", "1").set("SHUTDOWN_TIMEOUT", "0s");
    let mut gateway = setup.start().await;
    for _ in 0..3 {
        gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    }
    downstream.called(1).await;
    gateway.signal("TERM").await;
    gateway.exit(PATIENCE).await;
    assert!(!gateway.stderr().contains(FOUND), "nothing was there: {}", gateway.stderr());
    let gateway = setup.start().await;
    eventually("the jobs are told of", async || gateway.stderr().contains(FOUND).then_some(())).await;
    let told: Vec<_> = gateway.stderr().lines().filter(|line| line.contains(FOUND)).map(str::to_owned).collect();
    assert!(told.len() == 1 && told[0].contains(r#"lane="lookups""#) && told[0].contains("jobs=3"), "{told:?}");
}

const FOUND: &str = "jobs were in the queue at the start";
