//! The buttons of the page: what the simulated downstream does, and traffic to see it by.
//!
//! They are there where the downstream is simulated and the gateway listens on a loopback address. What is left to fear is a
//! web page that somebody on this machine looks at. It may send requests here: a `PUT` from elsewhere is not sent by a
//! browser before it has asked, and nobody answers that. And it may claim a name that resolves to here: then `Host` is
//! that name, and the request is refused.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Path, Request, State},
    middleware::{Next, from_fn},
    response::Response,
    routing::put,
};
use http::{HeaderMap, HeaderName, StatusCode, header, uri::Authority};
use serde_json::json;

use super::traffic::Traffic;
use crate::{
    answers::answer,
    simulator::{Simulator, moods},
};

pub(super) struct Controls {
    pub(super) simulator: Simulator,
    pub(super) traffic: Traffic,
}

pub(super) fn router(controls: Arc<Controls>) -> Router {
    Router::new()
        .route("/simulator/mood/{mood}", put(set_mood))
        .route("/simulator/traffic", put(begin).delete(end))
        .route_layer(from_fn(local))
        .with_state(controls)
}

async fn set_mood(State(controls): State<Arc<Controls>>, Path(mood): Path<String>) -> Response {
    match controls.simulator.set(&mood) {
        Some(mood) => answer(StatusCode::OK, &json!({ "mood": mood })),
        None => answer(StatusCode::NOT_FOUND, &json!({ "error": format!("there are {}", moods()) })),
    }
}

async fn begin(State(controls): State<Arc<Controls>>) -> Response {
    controls.traffic.begin();
    traffic(&controls)
}

async fn end(State(controls): State<Arc<Controls>>) -> Response {
    controls.traffic.end();
    traffic(&controls)
}

fn traffic(controls: &Controls) -> Response {
    answer(StatusCode::OK, &json!({ "traffic": controls.traffic.seconds_left() }))
}

async fn local(request: Request, next: Next) -> Response {
    if is_local(request.headers()) {
        next.run(request).await
    } else {
        answer(StatusCode::FORBIDDEN, &json!({ "error": "not_from_here" }))
    }
}

/// Whether a request is for this machine by name, and from a page of this gateway where it is from a page at all.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(Some(host)) = only(headers, &header::HOST) else { return false };
    match only(headers, &header::ORIGIN) {
        Some(Some(origin)) if origin.strip_prefix("http://") != Some(host) => return false,
        Some(_) => {}
        None => return false,
    }
    let Ok(host) = host.parse::<Authority>() else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The text of a header that may be missing; `None` where it is repeated, or no text.
#[expect(clippy::option_option, reason = "missing is one thing, and not to be judged another")]
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Option<&'h str>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(None),
        (Some(value), None) => value.to_str().ok().map(Some),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn local(host: &[&'static str], origin: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, values) in [(header::HOST, host), (header::ORIGIN, origin)] {
            for value in values {
                headers.append(&name, HeaderValue::from_static(value));
            }
        }
        is_local(&headers)
    }

    #[test]
    fn this_machine_may() {
        for host in ["127.0.0.1:8000", "localhost:8000", "LocalHost", "[::1]:8000", "127.0.0.53"] {
            assert!(local(&[host], &[]), "{host}");
        }
        assert!(local(&["localhost:9000"], &["http://localhost:9000"]));
    }

    #[test]
    fn another_page_and_another_name_may_not() {
        for host in
            ["", "evil.example", "evil.example:8000", "localhost.evil.example", "0.0.0.0:8000", "10.0.0.1", "a b"]
        {
            assert!(!local(&[host], &[]), "{host}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "",
            "http://127.0.0.1:9000",
            "https://127.0.0.1:8000",
            "http://localhost:8000",
        ] {
            assert!(!local(&["127.0.0.1:8000"], &[origin]), "{origin}");
        }
        assert!(!local(&[], &[]));
        assert!(!local(&["127.0.0.1:8000", "127.0.0.1:8000"], &[]));
        assert!(!local(&["127.0.0.1:8000"], &["http://127.0.0.1:8000", "http://127.0.0.1:8000"]));
    }
}
