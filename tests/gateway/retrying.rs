//! How long the gateway waits between attempts, on both routes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Answer, Downstream, Gateway, Setup, millis_of};

/// Waits end late on a busy machine, and never early: the far end is what tells one wait from another.
#[track_caller]
fn assert_wait(wait: Duration, at_least: u64, below: u64) {
    // The downstream's clock reads the arrivals, which may themselves be late by unequal amounts.
    assert!(wait + millis_of(10) >= millis_of(at_least) && wait < millis_of(below), "{wait:?}");
}

async fn start(setup: impl FnOnce(Setup) -> Setup) -> (Downstream, Gateway) {
    let downstream = Downstream::start(Answer::ok()).await;
    let gateway = setup(Setup::new(downstream.url())).start().await;
    (downstream, gateway)
}

/// Two gateways with the same settings, one for a job and one for a proxied call, at once.
async fn gaps(answers: &[Answer], setup: impl Fn(Setup) -> Setup) -> [Vec<Duration>; 2] {
    let job = async {
        let (downstream, gateway) = start(&setup).await;
        downstream.next(answers.iter().cloned());
        assert_eq!(gateway.job().await.0, 200);
        downstream.gaps()
    };
    let call = async {
        let (downstream, gateway) = start(&setup).await;
        downstream.next(answers.iter().cloned());
        assert_eq!(gateway.call().await, 200);
        downstream.gaps()
    };
    let (job, call) = tokio::join!(job, call);
    [job, call]
}

#[tokio::test]
async fn waits_double_up_to_the_longest() {
    let fail = vec![Answer::status(503); 3];
    let setup = |setup: Setup| {
        let setup = setup.set("RETRY_MAX_ATTEMPTS", "4").set("RETRY_BASE_DELAY", "150ms");
        setup.set("RETRY_MAX_DELAY", "400ms")
    };
    for gaps in gaps(&fail, setup).await {
        assert_eq!(gaps.len(), 3);
        assert_wait(gaps[0], 150, 290);
        assert_wait(gaps[1], 300, 600);
        assert_wait(gaps[2], 400, 800);
    }
}

#[tokio::test]
async fn a_base_over_the_longest_makes_every_wait_the_longest() {
    let setup =
        |setup: Setup| setup.set("RETRY_BASE_DELAY", "1m").set("RETRY_MAX_DELAY", "100ms").set("RETRY_JITTER", "1s");
    for gaps in gaps(&[Answer::status(500), Answer::status(500)], setup).await {
        assert_eq!(gaps.len(), 2);
        assert_wait(gaps[0], 100, 600);
        assert_wait(gaps[1], 100, 600);
    }
}

#[tokio::test]
async fn jitter_is_added_and_is_not_the_same_twice() {
    let setup = |setup: Setup| {
        let setup = setup.set("RETRY_MAX_ATTEMPTS", "5").set("RETRY_BASE_DELAY", "1ms").set("RETRY_JITTER", "200ms");
        setup.set("BREAKER_CONSECUTIVE_FAILURES", "0")
    };
    let [job, call] = gaps(&vec![Answer::status(503); 4], setup).await;
    let waits: Vec<_> = job.into_iter().chain(call).collect();
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert_eq!(waits.len(), 8);
    // Eight draws from 0 to 200 ms all within 20 ms of each other are one in a million.
    assert!(*most - *least > millis_of(20), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait < millis_of(600)), "{waits:?}");
}

#[tokio::test]
async fn retry_after_takes_the_place_of_the_backoff() {
    // Shorter than the backoff for one, longer for another.
    let answers = [Answer::retry_after(429, "1"), Answer::retry_after(503, "1")];
    let [short, long] = ["20ms", "5s"]
        .map(|base| gaps(&answers, move |setup| setup.set("RETRY_BASE_DELAY", base).set("PROXY_DEADLINE", "30s")));
    let (short, long) = tokio::join!(short, long);
    for gaps in short.into_iter().chain(long) {
        assert_eq!(gaps.len(), 2);
        // Never shortened, and lengthened by at most a tenth.
        assert_wait(gaps[0], 1000, 1600);
        assert_wait(gaps[1], 1000, 1600);
    }
}

#[tokio::test]
async fn retry_after_counts_for_every_status_that_is_repeated() {
    let cases = [408, 425, 500, 502, 504].map(|status| async move {
        let answers = [Answer::retry_after(status, "1")];
        (status, gaps(&answers, |setup| setup).await)
    });
    for (status, [job, call]) in futures_util::future::join_all(cases).await {
        assert!(job[0] >= millis_of(990) && call[0] >= millis_of(990), "{status}: {job:?}, {call:?}");
    }
}

#[tokio::test]
async fn a_retry_after_that_says_nothing_leaves_the_backoff() {
    let cases = ["soon", "-1", "", "1.5s", "99999999999999999999999 s"]
        .map(|value| async move { (value, gaps(&[Answer::retry_after(503, value)], |setup| setup).await) });
    for (value, [job, call]) in futures_util::future::join_all(cases).await {
        assert!(job[0] < millis_of(700) && call[0] < millis_of(700), "{value}: {job:?}, {call:?}");
    }
}

#[tokio::test]
async fn a_retry_after_over_the_limit_is_not_waited_out() {
    for value in ["3", "3600", "99999999999999999999999", "Fri, 31 Dec 2999 23:59:59 GMT"] {
        let (downstream, gateway) = start(|setup| setup.set("RETRY_AFTER_MAX", "2s")).await;
        downstream.always(Answer::retry_after(503, value));
        let started = Instant::now();
        let (status, result) = gateway.job().await;
        assert_eq!((status, &result["nextNode"]), (200, &json!("default_fallback_branch")), "{value}");
        assert_eq!(
            gateway.proxy("{}").await.answer(),
            (502, json!({ "error": "downstream_error", "status": 503 })),
            "{value}"
        );
        downstream.always(Answer::retry_after(429, value));
        assert_eq!(
            gateway.proxy("{}").await.answer(),
            (502, json!({ "error": "rate_limited", "status": 429 })),
            "{value}"
        );
        assert_eq!(downstream.calls(), 3, "{value}");
        assert!(started.elapsed() < millis_of(1900), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_retry_after_can_be_a_date_by_the_clock_of_the_downstream() {
    let dated = |until| Answer::new(503, &[("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Retry-After", until)], "{}");
    let later = [dated("Sun, 06 Nov 1994 08:49:38 GMT")];
    let passed = [dated("Sun, 06 Nov 1994 08:49:36 GMT")];
    let (later, passed) = tokio::join!(
        gaps(&later, |setup| setup.set("RETRY_BASE_DELAY", "5s")),
        // One that has passed says nothing.
        gaps(&passed, |setup| setup.set("RETRY_BASE_DELAY", "500ms")),
    );
    for gaps in later {
        assert_wait(gaps[0], 1000, 1600);
    }
    for gaps in passed {
        assert_wait(gaps[0], 500, 950);
    }
}

#[tokio::test]
async fn one_attempt_in_all_is_no_retry() {
    let (downstream, gateway) = start(|setup| setup.set("RETRY_MAX_ATTEMPTS", "1")).await;
    downstream.always(Answer::status(503));
    assert_eq!(gateway.job().await.1["nextNode"], "default_fallback_branch");
    assert_eq!(gateway.call().await, 502);
    assert_eq!(downstream.calls(), 2);
}

#[tokio::test]
async fn the_attempts_are_as_many_as_are_set() {
    let (downstream, gateway) = start(|setup| {
        setup.set("RETRY_MAX_ATTEMPTS", "6").set("RETRY_MAX_DELAY", "20ms").set("BREAKER_CONSECUTIVE_FAILURES", "0")
    })
    .await;
    downstream.next(vec![Answer::status(503); 5]);
    assert_eq!(gateway.call().await, 200);
    assert_eq!(downstream.calls(), 6);
}
