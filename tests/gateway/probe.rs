//! The probe of `/v2/health`, which closes the circuit while nobody calls.

use crate::support::{Answer, Downstream, Gateway, Setup, eventually, millis_of, pause};

/// An open circuit, and a probe that would wait long between two questions.
async fn open(health: Answer, settings: &[(&str, &str)]) -> (Downstream, Gateway) {
    let downstream = Downstream::start(Answer::status(500)).await;
    downstream.health(health);
    let setup = Setup::new(downstream.url() + "/base")
        .set("RETRY_MAX_ATTEMPTS", "1")
        .set("BREAKER_CONSECUTIVE_FAILURES", "1")
        .set("BREAKER_OPEN_FOR", "300ms")
        .set("HEALTH_PROBE_INTERVAL", "1m");
    let gateway = setup.with(settings).start().await;
    assert_eq!(gateway.call().await, 502);
    downstream.always(Answer::ok());
    (downstream, gateway)
}

#[tokio::test]
async fn a_downstream_that_is_well_again_closes_the_circuit_without_a_call() {
    let (downstream, gateway) = open(Answer::new(204, &[], ""), &[("DOWNSTREAM_BEARER_TOKEN", "t0ken")]).await;
    gateway.until_circuit("closed").await;
    // The first at once when it may, and the next at once after a success: three close it.
    let probes = downstream.probes();
    assert_eq!(probes.len(), 3);
    assert!(probes.iter().all(|probe| probe.method == "GET" && probe.path == "/base/v2/health"));
    assert!(probes.iter().all(|probe| probe.header("authorization") == Some("Bearer t0ken")));
    assert!(probes[0].at - downstream.received()[0].at >= millis_of(290));
    pause(100).await;
    assert_eq!(downstream.calls(), 4);
    assert_eq!(gateway.call().await, 200);
}

#[tokio::test]
async fn a_downstream_that_is_not_well_keeps_it_open() {
    let (downstream, gateway) = open(Answer::status(503), &[]).await;
    eventually("some probes", async || (downstream.probes().len() >= 2).then_some(())).await;
    assert!(gateway.metric("cognigy_circuit_breaker_trips_total", &[]).await >= 2.0);
    downstream.health(Answer::ok());
    gateway.until_circuit("closed").await;
}

#[tokio::test]
async fn between_failures_that_do_not_open_it_the_interval_passes() {
    let settings = [("HEALTH_PROBE_INTERVAL", "400ms"), ("BREAKER_PROBE_SUCCESSES", "1"), ("BREAKER_PROBES", "3")];
    let (downstream, gateway) = open(Answer::status(422), &settings).await;
    eventually("two probes", async || (downstream.probes().len() >= 2).then_some(())).await;
    let probes = downstream.probes();
    assert!(probes[1].at - probes[0].at >= millis_of(350), "{:?}", probes[1].at - probes[0].at);
    downstream.health(Answer::ok());
    gateway.until_circuit("closed").await;
}

#[tokio::test]
async fn anything_but_a_success_is_a_failure() {
    for health in
        [Answer::status(400), Answer::status(302), Answer::status(429), Answer::raw("", crate::support::End::Reset)]
    {
        let (downstream, gateway) = open(health, &[]).await;
        eventually("it was asked", async || (!downstream.probes().is_empty()).then_some(())).await;
        eventually("it opened again", async || {
            (gateway.metric("cognigy_circuit_breaker_trips_total", &[]).await >= 2.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn no_such_route_turns_the_probe_off_with_a_warning() {
    for status in [404, 405, 501] {
        let (downstream, gateway) =
            open(Answer::status(status), &[("HEALTH_PROBE_INTERVAL", "50ms"), ("BREAKER_PROBES", "1")]).await;
        eventually("it was asked", async || (!downstream.probes().is_empty()).then_some(())).await;
        let off = "WARN cognigy_gateway::probe: the downstream has no /v2/health: the health probe is off";
        eventually("a warning", async || gateway.stderr().contains(off).then_some(())).await;
        pause(500).await;
        assert_eq!(downstream.probes().len(), 1, "{status}");
        // The place that it took is free again: a live call closes the circuit.
        eventually("it closes", async || (gateway.call().await == 200).then_some(())).await;
        assert_eq!(gateway.circuit().await["state"], "closed", "{status}");
    }
}

#[tokio::test]
async fn it_does_not_ask_while_the_circuit_is_closed_or_when_it_is_off() {
    let downstream = Downstream::start(Answer::ok()).await;
    let gateway = Setup::new(downstream.url()).set("HEALTH_PROBE_INTERVAL", "20ms").start().await;
    assert_eq!(gateway.call().await, 200);
    pause(300).await;
    assert_eq!(downstream.probes().len(), 0);

    let (downstream, gateway) = open(Answer::ok(), &[("HEALTH_PROBE_INTERVAL", "0s")]).await;
    pause(600).await;
    assert_eq!(downstream.probes().len(), 0);
    assert_eq!(gateway.circuit().await["state"], "open");
}

#[tokio::test]
async fn it_leaves_the_place_to_a_live_call_and_takes_one_as_such() {
    let (downstream, gateway) = open(Answer::hang(), &[("BREAKER_PROBES", "1"), ("DOWNSTREAM_TIMEOUT", "5s")]).await;
    eventually("it was asked", async || (!downstream.probes().is_empty()).then_some(())).await;
    let response = gateway.proxy("{}").await;
    assert_eq!((response.status(), response.json()["error"].as_str()), (503, Some("circuit_open")));
    assert_eq!(gateway.circuit().await["state"], "half_open");
}
