//! `kill -9`: what was accepted is done all the same. A lease has to run out for real here, so these tests run at once.
//!
//! Those that take settings are tests of any queue: `redis` runs them too.

use std::time::Instant;

use rusqlite::Connection;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Answer, Downstream, Gateway, RECOVERY, Request, SECRET, Setup, millis_of, pause, within};

#[tokio::test]
async fn jobs_outlive_their_gateway() {
    tokio::join!(
        the_same_gateway_finishes_them_after_its_restart(&[]),
        another_gateway_finishes_them(&[]),
        a_job_that_keeps_killing_gateways_ends(&[]),
        a_long_job_is_left_to_a_gateway_that_lives(&[]),
        a_gateway_that_was_asleep_changes_no_result(&[]),
    );
}

/// Neither an attempt nor a job is cut while a test waits.
fn setup(downstream: &Downstream, settings: &[(&str, &str)]) -> Setup {
    Setup::new(downstream.url()).with(&[("DOWNSTREAM_TIMEOUT", "5m"), ("JOB_TIMEOUT", "5m")]).with(settings)
}

/// Who goes on where a gateway was killed.
#[derive(Clone, Copy)]
pub(crate) enum Heir {
    /// The same one, after its restart.
    Itself,
    /// One that was running beside it.
    Another,
}

impl Heir {
    /// Starts the other one, if it is the heir.
    pub(crate) async fn beside(self, setup: &Setup) -> Option<Gateway> {
        match self {
            Self::Itself => None,
            Self::Another => Some(setup.start().await),
        }
    }

    /// The other one, or the one that was killed, started again.
    pub(crate) async fn take_over(other: Option<Gateway>, setup: &Setup) -> Gateway {
        match other {
            Some(other) => other,
            None => setup.start().await,
        }
    }
}

pub(crate) async fn the_same_gateway_finishes_them_after_its_restart(settings: &[(&str, &str)]) {
    let downstream = Downstream::start(Answer::hang()).await;
    let setup = setup(&downstream, settings).set("QUEUE_CONCURRENCY", "1");
    let gateway = setup.start().await;
    let running = gateway.enqueue(r#"{"conversationId":"running"}"#).await;
    downstream.called(1).await;
    let queued = gateway.enqueue(r#"{"conversationId":"queued"}"#).await;
    // Right after the 200.
    gateway.kill().await;
    let killed = Instant::now();

    if let Some(file) = setup.setting("QUEUE_URL").strip_prefix("sqlite://") {
        let check: String =
            Connection::open(file).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }

    downstream.always(Answer::ok());
    let gateway = setup.start().await;
    // Nobody had begun this one.
    within(millis_of(5000), "the queued job", async || (gateway.status(&queued).await.status() == 200).then_some(()))
        .await;
    let result = gateway.result_within(RECOVERY, &running).await;
    assert_eq!((result.status(), &result.json()["nextNode"]), (200, &json!("continue_dialog")));
    assert!(killed.elapsed() < RECOVERY, "{:?}", killed.elapsed());
    assert_eq!(downstream.keys(), [running.clone(), queued, running]);
}

pub(crate) async fn another_gateway_finishes_them(settings: &[(&str, &str)]) {
    let downstream = Downstream::start(Answer::hang()).await;
    let setup = setup(&downstream, settings);
    let one = setup.start().await;
    let task = one.enqueue(r#"{"conversationId":"c-1"}"#).await;
    downstream.called(1).await;
    downstream.always(Answer::ok());
    let other = setup.start().await;
    one.kill().await;
    let result = other.result_within(RECOVERY, &task).await;
    assert_eq!((result.status(), &result.json()["nextNode"]), (200, &json!("continue_dialog")));
    assert_eq!(downstream.keys(), [task.clone(), task]);
}

pub(crate) async fn a_job_that_keeps_killing_gateways_ends(settings: &[(&str, &str)]) {
    let downstream = Downstream::start(Answer::hang()).await;
    let setup = setup(&downstream, settings).set("JOB_MAX_RUNS", "2");
    let gateway = setup.start().await;
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    downstream.called(1).await;
    gateway.kill().await;
    let gateway = setup.start().await;
    within(RECOVERY, "the second run", async || (downstream.calls() == 2).then_some(())).await;
    gateway.kill().await;
    downstream.always(Answer::ok());
    let gateway = setup.start().await;
    let result = gateway.result_within(RECOVERY, &task).await;
    assert_eq!((result.status(), &result.json()["nextNode"]), (200, &json!("default_fallback_branch")));
    assert_eq!(result.json()["variables"]["failureReason"], "downstream_unavailable");
    assert_eq!(downstream.calls(), 2);
}

pub(crate) async fn a_long_job_is_left_to_a_gateway_that_lives(settings: &[(&str, &str)]) {
    let downstream = Downstream::start(Answer::ok().after(millis_of(20_000))).await;
    let setup = setup(&downstream, settings);
    let (one, other) = tokio::join!(setup.start(), setup.start());
    let task = one.enqueue(r#"{"conversationId":"c-1"}"#).await;
    let result = other.result_within(RECOVERY, &task).await;
    assert_eq!((result.status(), &result.json()["nextNode"]), (200, &json!("continue_dialog")));
    assert_eq!(downstream.calls(), 1);
}

#[tokio::test]
async fn what_was_accepted_is_known_and_done_however_soon_the_gateway_dies() {
    tokio::join!(dies_right_after_the_answers(Heir::Itself, &[]), dies_right_after_the_answers(Heir::Another, &[]));
}

pub(crate) async fn dies_right_after_the_answers(heir: Heir, settings: &[(&str, &str)]) {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url()).with(settings);
    let gateway = setup.start().await;
    let other = heir.beside(&setup).await;
    let address = gateway.address;
    let mut webhooks = JoinSet::new();
    for n in 0..60 {
        let webhook = Request::queued(format!(r#"{{"conversationId":"c-{n}"}}"#)).signed(SECRET);
        webhooks.spawn(async move { webhook.send(address).await });
    }
    let mut gateway = Some(gateway);
    let mut accepted = Vec::new();
    while let Some(response) = webhooks.join_next().await {
        // Those that the gateway did not live to answer are not accepted.
        if let Ok(response) = response.unwrap() {
            accepted.push(response.json()["taskId"].as_str().expect("a task").to_owned());
        }
        if accepted.len() >= 20
            && let Some(gateway) = gateway.take()
        {
            gateway.kill().await;
        }
    }
    assert!(accepted.len() >= 20);
    let gateway = Heir::take_over(other, &setup).await;
    for task in &accepted {
        let status = gateway.status(task).await.status();
        assert!(matches!(status, 200 | 202), "{status} for an accepted task");
    }
    for task in &accepted {
        assert_eq!(gateway.result_within(RECOVERY, task).await.json()["nextNode"], "continue_dialog");
    }
}

/// A machine can be frozen for longer than a lease, and thaw with a job in its hands that another has finished since.
pub(crate) async fn a_gateway_that_was_asleep_changes_no_result(settings: &[(&str, &str)]) {
    let downstream = Downstream::start(Answer::status(422).after(millis_of(500))).await;
    let cognigy = Downstream::start(Answer::status(200)).await;
    let setup = setup(&downstream, settings).set("COGNIGY_INJECT_URL", cognigy.url());
    let asleep = setup.start().await;
    let task = asleep.enqueue(r#"{"conversationId":"c-1"}"#).await;
    downstream.called(1).await;
    asleep.signal("STOP").await;
    downstream.always(Answer::ok());
    let other = setup.start().await;
    let result = other.result_within(RECOVERY, &task).await;
    assert_eq!((result.status(), &result.json()["nextNode"]), (200, &json!("continue_dialog")));
    asleep.signal("CONT").await;
    asleep.until_ready().await;
    pause(1000).await;
    assert_eq!(asleep.status(&task).await.answer(), result.answer());
    assert_eq!(cognigy.bodies().iter().map(|body| body["data"].clone()).collect::<Vec<_>>(), [result.json()]);
    assert_eq!(asleep.job().await.0, 200, "it goes on with other jobs");
}
