//! A downstream to play with, on a port of its own: well, failing, slow, rate limiting or hanging, as it is told.

use std::{
    io,
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{routes::answer, shutdown::pause};

/// How the simulated downstream is.
#[derive(Clone, Copy, Debug, Default)]
enum Mood {
    #[default]
    Well,
    Failing,
    Slow,
    RateLimiting,
    Hanging,
}

/// The moods by name, for the control command.
pub(crate) const MOODS: &str = "well, failing, slow, rate-limiting or hanging";

/// Longer than `BREAKER_SLOW_CALL` takes by default.
const SLOW: Duration = Duration::from_secs(2);

impl FromStr for Mood {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "well" => Self::Well,
            "failing" => Self::Failing,
            "slow" => Self::Slow,
            "rate-limiting" => Self::RateLimiting,
            "hanging" => Self::Hanging,
            _ => return Err(()),
        })
    }
}

type Shared = State<Arc<Mutex<Mood>>>;

/// Starts it, and tells its address. It runs to the gateway's very end, since jobs that finish still call it.
pub(crate) async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/v1/customer/lookup", post(async |mood: Shared| act(mood, customer()).await))
        .route("/v2/process/cognigy", post(async |mood: Shared| act(mood, customer()).await))
        .route("/v2/health", get(async |mood: Shared| act(mood, json!({ "status": "ok" })).await))
        .route("/simulate/{mood}", put(set))
        .with_state(Arc::default());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn set(State(shared): Shared, Path(mood): Path<String>) -> Response {
    let Ok(mood) = mood.parse() else {
        return answer(StatusCode::NOT_FOUND, &json!({ "error": format!("there are {MOODS}") }));
    };
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    answer(StatusCode::OK, &json!({ "downstream": format!("{mood:?}") }))
}

/// Answers as the mood is.
async fn act(State(shared): Shared, well: Value) -> Response {
    let mood = *shared.lock().unwrap_or_else(PoisonError::into_inner);
    match mood {
        Mood::Well => {}
        Mood::Failing => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Slow => pause(SLOW).await,
        Mood::RateLimiting => return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "2")]).into_response(),
        Mood::Hanging => std::future::pending().await,
    }
    answer(StatusCode::OK, &well)
}

fn customer() -> Value {
    json!({ "customer": { "name": "Ada Lovelace", "tier": "gold" } })
}
