//! `GET /`: a page that shows the circuit, the queue and the last calls, live.
//!
//! Nobody has to say who they are to see it, so it shows what `/health` and `/metrics` tell, why the circuit opened, and of each
//! call when, how and how fast it ended: no body, no id, no address. One task makes a frame for all who watch; a call only
//! leaves a line in [`Recent`]. Buttons are there where the downstream is simulated, and for this machine alone.

mod controls;
mod frames;
mod traffic;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::State, response::Response, routing::get};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use portcullis::breaker::Circuit;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{
    select,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use self::{controls::Controls, frames::Frames, traffic::Traffic};
use crate::{
    answers::answer,
    exchange::Client,
    queue::Queue,
    recent::Recent,
    shutdown::{Phase, Shutdown},
    simulator::Simulator,
};

/// Who may watch at once.
const LISTENERS: usize = 32;
/// Frames come each second. Where none can be made, a comment says that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// What a stream begins with: how long a browser waits before it comes back.
const RETRY: &[u8] = b"retry: 2000\n\n";

const PAGE: &str = include_str!("page.html");
/// The part of the page that is there for the simulated downstream.
const BUTTONS: [&str; 2] = ["<!-- buttons -->", "<!-- /buttons -->"];

/// What the page needs.
pub(crate) struct Parts {
    pub(crate) circuit: Circuit,
    pub(crate) queue: Queue,
    pub(crate) recent: &'static Recent,
    pub(crate) shutdown: Shutdown,
    pub(crate) http: Client,
    /// Where the gateway listens, and the secret of its webhooks.
    pub(crate) address: SocketAddr,
    pub(crate) secret: String,
    pub(crate) simulator: Option<Simulator>,
}

struct Dashboard {
    page: Bytes,
    policy: HeaderValue,
    frames: watch::Receiver<Bytes>,
    /// Somebody has come to watch, and should not have to wait for the next second.
    came: Arc<Notify>,
    places: Arc<Semaphore>,
    shutdown: Shutdown,
}

/// The routes of the page, and the task behind them.
pub(crate) fn start(parts: Parts) -> Router {
    let Parts { circuit, queue, recent, shutdown, http, address, secret, simulator } = parts;
    let simulator = simulator.filter(|_| may_have_buttons(address));
    let controls = simulator.and_then(|simulator| {
        let traffic = Traffic::new(http, address, &secret, shutdown.clone())?;
        Some(Arc::new(Controls { simulator, traffic }))
    });
    let came = Arc::new(Notify::new());
    let frames = Frames::start(circuit, queue, recent, controls.clone(), Arc::clone(&came));
    let dashboard = Dashboard {
        page: page(controls.is_some()).into(),
        policy: policy(PAGE),
        frames,
        came,
        places: Arc::new(Semaphore::new(LISTENERS)),
        shutdown,
    };
    let router = Router::new().route("/", get(show)).route("/events", get(events)).with_state(Arc::new(dashboard));
    match controls {
        Some(controls) => router.merge(controls::router(controls)),
        None => router,
    }
}

/// Whether a simulated downstream has buttons: whoever can reach a loopback address could as well tell the simulator itself.
pub(crate) fn may_have_buttons(address: SocketAddr) -> bool {
    address.ip().is_loopback()
}

fn page(buttons: bool) -> String {
    match (PAGE.split_once(BUTTONS[0]), PAGE.split_once(BUTTONS[1])) {
        (Some((before, _)), Some((_, after))) if !buttons => format!("{before}{after}"),
        _ => PAGE.to_owned(),
    }
}

/// What the page may do: run the script and use the style that it was built with, and talk to its gateway.
fn policy(page: &str) -> HeaderValue {
    let hash = |element: &str| {
        let inner = page.split_once(&format!("<{element}>")).map_or("", |(_, rest)| rest);
        let inner = inner.split_once(&format!("</{element}>")).map_or("", |(inner, _)| inner);
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inner)))
    };
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style"),
    );
    HeaderValue::from_str(&policy).expect("base64 can be a header")
}

async fn show(State(dashboard): State<Arc<Dashboard>>) -> Response {
    let mut response = Response::new(dashboard.page.clone().into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, dashboard.policy.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// Server-sent events, until the client goes or the gateway stops.
async fn events(State(dashboard): State<Arc<Dashboard>>) -> Response {
    let Ok(place) = Arc::clone(&dashboard.places).try_acquire_owned() else {
        let mut full = answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "too_many_listeners" }));
        full.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        return full;
    };
    let events = listen(dashboard.frames.clone(), dashboard.shutdown.clone(), place);
    dashboard.came.notify_one();
    let mut response = Response::new(axum::body::Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A proxy would hold frames back until it has enough of them.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The latest frame whenever the client has read the one before: who reads slowly misses some, and none wait for it.
fn listen(
    mut frames: watch::Receiver<Bytes>,
    shutdown: Shutdown,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    // The last frame may be from when somebody last watched.
    frames.mark_unchanged();
    let frames = stream::unfold((frames, shutdown, place), async |(mut frames, mut shutdown, place)| {
        let next = select! {
            biased;
            () = shutdown.reached(Phase::Draining) => return None,
            next = timeout(HEARTBEAT, frames.changed()) => next,
        };
        let event = match next {
            Ok(Ok(())) => frames.borrow_and_update().clone(),
            Ok(Err(_)) => return None,
            Err(_) => Bytes::from_static(b":\n\n"),
        };
        Some((event, (frames, shutdown, place)))
    });
    stream::iter([Bytes::from_static(RETRY)]).chain(frames).map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_its_buttons_once_and_only_where_it_should() {
        assert!(page(true).contains("<button") && !page(false).contains("<button"));
        for mark in BUTTONS {
            assert_eq!(PAGE.matches(mark).count(), 1);
        }
        // The policy is that of the whole page: the script has to be in both.
        assert_eq!(policy(&page(true)), policy(&page(false)));
    }

    #[test]
    fn the_page_fetches_nothing_from_elsewhere() {
        for element in ["<script", "<style"] {
            assert_eq!(PAGE.matches(element).count(), 1, "{element}");
        }
        let page = PAGE.replace("http://www.w3.org/2000/svg", "");
        for telltale in ["http://", "https://", "//cdn", "@import", " style=", " onclick=", "innerHTML", "eval("] {
            assert!(!page.contains(telltale), "{telltale}");
        }
    }
}
