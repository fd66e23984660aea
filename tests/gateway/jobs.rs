//! The queued route: what a job asks, and what its status says.

use std::collections::HashSet;

use serde_json::json;

use crate::support::{Answer, Downstream, Request, SECRET, Setup, millis_of, start};

#[tokio::test]
async fn a_job_is_processing_until_its_result_is_there() {
    let (downstream, gateway) = start().await;
    downstream.always(Answer::ok().after(millis_of(300)));
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    assert_eq!(gateway.status(&task).await.answer(), (202, json!({ "status": "processing" })));
    let result = gateway.result(&task).await;
    let variables = json!({ "lookupStatus": "completed", "lookup": { "tier": "gold" } });
    let expected = json!({ "status": "success", "nextNode": "continue_dialog", "variables": variables });
    assert_eq!(result.answer(), (200, expected));
    assert_eq!(result.header("content-type"), Some("application/json"));
    // It can be read more than once.
    assert_eq!(gateway.status(&task).await.answer(), result.answer());
}

#[tokio::test]
async fn a_job_is_processing_while_it_waits_to_retry() {
    let downstream = Downstream::start(Answer::ok()).await;
    let gateway = Setup::new(downstream.url()).set("RETRY_BASE_DELAY", "500ms").start().await;
    downstream.next([Answer::status(503)]);
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    downstream.called(1).await;
    assert_eq!(gateway.status(&task).await.answer(), (202, json!({ "status": "processing" })));
    assert_eq!(gateway.result(&task).await.status(), 200);
    assert_eq!(downstream.calls(), 2);
}

#[tokio::test]
async fn the_lookup_is_made_of_the_webhook() {
    let (downstream, gateway) = start().await;
    let cases = [
        (
            r#"{"conversationId":"c-1","currentNode":"ask_customer","variables":{"customerId":"k-7","other":1},"more":[]}"#,
            json!({ "conversationId": "c-1", "externalId": "k-7", "context": "ask_customer" }),
        ),
        (r#"{"conversationId":"c-2"}"#, json!({ "conversationId": "c-2", "externalId": null, "context": null })),
        (
            r#"{"conversationId":"c-3","variables":{},"currentNode":{"id":"n","path":["a","b"]}}"#,
            json!({ "conversationId": "c-3", "externalId": null, "context": { "id": "n", "path": ["a", "b"] } }),
        ),
        (
            r#"{"conversationId":"c-4","variables":null,"currentNode":null}"#,
            json!({ "conversationId": "c-4", "externalId": null, "context": null }),
        ),
        (
            r#"{"conversationId":"c-5","variables":[1],"currentNode":false}"#,
            json!({ "conversationId": "c-5", "externalId": null, "context": false }),
        ),
        (
            r#"{"conversationId":"\u0063-\ud83d\ude00\"","variables":{"customerId":null}}"#,
            json!({ "conversationId": "c-\u{1f600}\"", "externalId": null, "context": null }),
        ),
    ];
    for (webhook, lookup) in cases {
        let task = gateway.enqueue(webhook).await;
        assert_eq!(gateway.result(&task).await.status(), 200);
        let request = downstream.received().pop().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/customer/lookup"));
        assert_eq!(request.message.json(), lookup);
        assert_eq!(request.header("idempotency-key"), Some(task.as_str()));
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn json_that_is_odd_is_json() {
    let (downstream, gateway) = start().await;
    // An escaped key is the key that it spells; half of a surrogate pair is no text, and yet may be passed on.
    let webhook = r#"{"conversation\u0049d":"c-1","variables":{"customer\u0049d":"\ud800"},"currentNode":"\ud800"}"#;
    let task = gateway.enqueue(webhook).await;
    downstream.next([Answer::json(r#"{"name":"\ud800"}"#)]);
    let result = gateway.result(&task).await;
    assert!(result.text().contains(r#"{"name":"\ud800"}"#), "{}", result.text());
    let lookup = downstream.received().remove(0);
    assert!(lookup.text().contains(r#""externalId":"\ud800""#), "{}", lookup.text());
    assert!(lookup.text().contains(r#""context":"\ud800""#), "{}", lookup.text());

    let response = gateway.send(Request::queued(r#"{"conversationId":"\ud800"}"#).signed(SECRET)).await;
    assert!(matches!(response.status(), 200 | 400), "{response:?}");
}

#[tokio::test]
async fn numbers_of_any_size_survive_in_both_directions() {
    let (downstream, gateway) = start().await;
    let number = "123456789012345678901234567890.123456789012345678901234567890";
    downstream.always(Answer::json(&format!(r#"{{"balance":{number},"small":1E-400}}"#)));
    let webhook = format!(
        r#"{{"conversationId":"c-1","variables":{{"customerId":{number}}},"currentNode":{{"n":[{number},1.0,-0]}}}}"#
    );
    let task = gateway.enqueue(webhook).await;
    let result = gateway.result(&task).await;
    assert!(result.text().contains(&format!(r#""balance":{number},"small":1E-400"#)), "{}", result.text());
    let request = downstream.received().remove(0);
    assert!(request.text().contains(&format!(r#""externalId":{number}"#)), "{}", request.text());
    assert!(request.text().contains(&format!(r#"{{"n":[{number},1.0,-0]}}"#)), "{}", request.text());
}

#[tokio::test]
async fn each_attempt_carries_the_task_as_its_key_and_the_same_body() {
    let (downstream, gateway) = start().await;
    downstream.always(Answer::status(503));
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    gateway.result(&task).await;
    let attempts = downstream.received();
    assert_eq!(attempts.len(), 3);
    for attempt in &attempts {
        assert_eq!(attempt.header("idempotency-key"), Some(task.as_str()));
        assert_eq!(attempt.message.body, attempts[0].message.body);
    }
}

#[tokio::test]
async fn identical_webhooks_are_separate_jobs() {
    let (downstream, gateway) = start().await;
    let mut tasks = HashSet::new();
    for _ in 0..20 {
        tasks.insert(gateway.enqueue(r#"{"conversationId":"c-1"}"#).await);
    }
    assert_eq!(tasks.len(), 20);
    for task in &tasks {
        // 128 bits take 22 characters in base64, and more in anything else.
        assert!(task.len() >= 22, "{task}");
        assert_eq!(gateway.result(task).await.status(), 200);
    }
    assert_eq!(downstream.calls(), 20);
}

#[tokio::test]
async fn an_unknown_task_is_said_to_be_unknown() {
    let (_downstream, gateway) = start().await;
    let task = gateway.enqueue(r#"{"conversationId":"c-1"}"#).await;
    gateway.result(&task).await;
    let other = if task.ends_with('0') { '1' } else { '0' };
    let almost = format!("{}{other}", &task[..task.len() - 1]);
    for unknown in ["0", "00000000000000000000000000000000", &almost, "%00", "%FF", "'%20OR%201=1", &"x".repeat(5000)] {
        assert_eq!(gateway.status(unknown).await.answer(), (404, json!({ "error": "unknown_task" })), "{unknown}");
    }
}

#[tokio::test]
async fn nodes_have_the_names_that_they_are_given() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::new(downstream.url()).set("SUCCESS_NODE", "weiter").set("FALLBACK_NODE", "zurück");
    let gateway = setup.start().await;
    assert_eq!(gateway.job().await.1["nextNode"], "weiter");
    downstream.always(Answer::status(501));
    assert_eq!(gateway.job().await.1["nextNode"], "zurück");
}

#[tokio::test]
async fn no_more_jobs_run_at_once_than_may() {
    let downstream = Downstream::start(Answer::ok().after(millis_of(100))).await;
    let gateway = Setup::new(downstream.url()).set("QUEUE_CONCURRENCY", "2").start().await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        tasks.push(gateway.enqueue(r#"{"conversationId":"c-1"}"#).await);
    }
    for task in &tasks {
        assert_eq!(gateway.result(task).await.status(), 200);
    }
    assert_eq!(downstream.most_running(), 2);
}

#[tokio::test]
async fn the_webhook_tells_the_downstream_nothing_but_its_trace() {
    let (downstream, gateway) = start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = Request::queued(r#"{"conversationId":"c-1"}"#)
        .signed(SECRET)
        .header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"))
        .header("Cookie", "session=1")
        .header("X-Custom", "1");
    let task = gateway.send(request).await.json()["taskId"].as_str().unwrap().to_owned();
    gateway.result(&task).await;
    let received = downstream.received().remove(0);
    assert_eq!(received.header("traceparent").and_then(|parent| parent.split('-').nth(1)), Some(trace));
    for name in ["cookie", "x-custom", "x-cognigy-signature", "authorization", "x-api-key"] {
        assert_eq!(received.header(name), None, "{name}");
    }
}
