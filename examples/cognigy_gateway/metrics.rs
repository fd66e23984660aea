//! `GET /metrics`: what happened, as Prometheus reads it. Each series is there from the start, at 0.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{extract::State, response::Response};
use http::StatusCode;
use metrics::{Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use portcullis::breaker::{self, Circuit};
use tower::util::MapResponseLayer;

use crate::{
    queue::{Backlog, Lane},
    routes::{Gateway, PROXIED, QUEUED, STATUS},
};

/// What each route that is counted answers.
const ANSWERS: [(&str, &[u16]); 3] = [
    (QUEUED, &[200, 400, 401, 408, 413, 503]),
    (PROXIED, &[200, 400, 401, 408, 413, 502, 503, 504]),
    (STATUS, &[200, 202, 404, 500, 503]),
];

/// What a retry follows: the statuses that are worth one, and an error.
const RETRIED: [&str; 8] = ["408", "425", "429", "500", "502", "503", "504", "error"];

/// From a fast call to one that takes longer than the default timeout.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 30.0];

const REQUESTS: &str = "cognigy_webhook_requests_total";
const RETRIES: &str = "cognigy_webhook_retries_total";
const FALLBACKS: &str = "cognigy_webhook_fallbacks_total";
const INJECT_FAILURES: &str = "cognigy_inject_failures_total";
const TRIPS: &str = "cognigy_circuit_breaker_trips_total";
const STATE: &str = "cognigy_circuit_breaker_state";
const DURATION: &str = "cognigy_downstream_duration_seconds";
const DEPTH: &str = "cognigy_queue_depth";
const AGE: &str = "cognigy_queue_age_seconds";

/// Renders the page.
#[derive(Clone)]
pub(crate) struct Page(PrometheusHandle);

impl Page {
    /// Installs the recorder.
    pub(crate) fn install() -> Result<Self, String> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(DURATION.into()), &BUCKETS)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(|error| error.to_string())?;
        describe_counter!(REQUESTS, "Webhooks and status requests by route and answer.");
        describe_counter!(RETRIES, "Attempts that followed a failed one, by what that one ended with.");
        describe_counter!(FALLBACKS, "Jobs that ended with the fallback.");
        describe_counter!(INJECT_FAILURES, "Results that Cognigy was not told of.");
        describe_counter!(TRIPS, "Openings of the circuit, from half-open too.");
        describe_gauge!(STATE, "1 for the state that the circuit is in, 0 for the others.");
        describe_histogram!(DURATION, "Single attempts to call the downstream.");
        describe_gauge!(DEPTH, "Jobs that have not ended, of all gateways on the queue; NaN while it cannot be asked.");
        describe_gauge!(
            AGE,
            "How long the job that has waited longest could have run; 0 where none waits, NaN as above."
        );
        for status in RETRIED {
            counter!(RETRIES, "status_code" => status).absolute(0);
        }
        counter!(FALLBACKS).absolute(0);
        counter!(INJECT_FAILURES).absolute(0);
        let _ = histogram!(DURATION);
        for lane in Lane::ALL {
            backlog(lane, None);
        }
        Ok(Self(handle))
    }

    /// Moves what was recorded into the buckets, so that it does not pile up where nobody reads the page.
    pub(crate) fn upkeep(&self) {
        self.0.run_upkeep();
    }

    fn render(&self, circuit: &Circuit) -> String {
        let snapshot = circuit.snapshot();
        counter!(TRIPS).absolute(snapshot.opened);
        for state in [breaker::State::Closed, breaker::State::Open, breaker::State::HalfOpen] {
            gauge!(STATE, "state" => state.as_str()).set(f64::from(u8::from(state == snapshot.state)));
        }
        self.0.render()
    }
}

pub(crate) async fn page(State(gateway): State<Arc<Gateway>>) -> ([(&'static str, &'static str); 1], String) {
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], gateway.metrics.render(&gateway.circuit))
}

/// Counts the requests of a route by what they are answered. The counters of the usual answers are looked up once.
pub(crate) fn count(route: &'static str) -> MapResponseLayer<impl Fn(Response) -> Response + Clone> {
    let counter =
        move |status: StatusCode| counter!(REQUESTS, "route" => route, "status" => status.as_str().to_owned());
    // There are few, for as long as the gateway runs.
    let usual: &'static [_] = usual(route)
        .filter_map(|status| StatusCode::from_u16(status).ok())
        .map(|status| (status, counter(status)))
        .collect::<Vec<_>>()
        .leak();
    MapResponseLayer::new(move |response: Response| {
        let status = response.status();
        match usual.iter().find(|(usual, _)| *usual == status) {
            Some((_, usual)) => usual.increment(1),
            None => counter(status).increment(1),
        }
        response
    })
}

fn usual(route: &str) -> impl Iterator<Item = u16> {
    ANSWERS.into_iter().filter(move |(of, _)| *of == route).flat_map(|(_, statuses)| statuses).copied()
}

/// An attempt follows one that ended with this status, or with an error.
pub(crate) fn retried(after: Option<StatusCode>) {
    let after = after.map_or_else(|| "error".to_owned(), |status| status.as_u16().to_string());
    counter!(RETRIES, "status_code" => after).increment(1);
}

/// An attempt took so long.
pub(crate) fn attempted(duration: Duration) {
    static DURATIONS: LazyLock<Histogram> = LazyLock::new(|| histogram!(DURATION));
    DURATIONS.record(duration);
}

/// What the queue says is left to do in a lane, if it can be asked.
pub(crate) fn backlog(lane: Lane, backlog: Option<Backlog>) {
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at, exact up to 2⁵³ jobs")]
    let (depth, age) = backlog.map_or((f64::NAN, f64::NAN), |left| (left.jobs as f64, left.waited.as_secs_f64()));
    gauge!(DEPTH, "lane" => lane.as_str()).set(depth);
    gauge!(AGE, "lane" => lane.as_str()).set(age);
}

/// A job ended with the fallback.
pub(crate) fn fell_back() {
    counter!(FALLBACKS).increment(1);
}

/// Cognigy could not be told a result.
pub(crate) fn not_injected() {
    counter!(INJECT_FAILURES).increment(1);
}
