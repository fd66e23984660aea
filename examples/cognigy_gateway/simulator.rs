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

use crate::{answers::answer, shutdown::pause};

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
pub(crate) fn moods() -> String {
    let [others @ .., last] = Mood::ALL.map(Mood::as_str);
    format!("{} or {last}", others.join(", "))
}

/// Longer than `BREAKER_SLOW_CALL` takes by default.
const SLOW: Duration = Duration::from_secs(2);

impl FromStr for Mood {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|mood| mood.as_str() == text).ok_or(())
    }
}

impl Mood {
    const ALL: [Self; 5] = [Self::Well, Self::Failing, Self::Slow, Self::RateLimiting, Self::Hanging];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Failing => "failing",
            Self::Slow => "slow",
            Self::RateLimiting => "rate-limiting",
            Self::Hanging => "hanging",
        }
    }
}

/// The handle to a simulated downstream.
#[derive(Clone)]
pub(crate) struct Simulator {
    pub(crate) address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
}

impl Simulator {
    pub(crate) fn mood(&self) -> &'static str {
        now(&self.mood).as_str()
    }

    /// Puts it into the mood of this name, if there is one.
    pub(crate) fn set(&self, name: &str) -> Option<&'static str> {
        let mood: Mood = name.parse().ok()?;
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
        Some(mood.as_str())
    }
}

fn now(mood: &Mutex<Mood>) -> Mood {
    *mood.lock().unwrap_or_else(PoisonError::into_inner)
}

type Shared = State<Simulator>;

/// Starts it. It runs to the gateway's very end, since jobs that finish still call it.
pub(crate) async fn start() -> io::Result<Simulator> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let simulator = Simulator { address: listener.local_addr()?, mood: Arc::default() };
    let router = Router::new()
        .route("/v1/customer/lookup", post(async |mood: Shared| act(mood, customer()).await))
        .route("/v2/process/cognigy", post(async |mood: Shared| act(mood, customer()).await))
        .route("/v2/health", get(async |mood: Shared| act(mood, json!({ "status": "ok" })).await))
        .route("/simulate/{mood}", put(set))
        .with_state(simulator.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(simulator)
}

async fn set(State(simulator): Shared, Path(mood): Path<String>) -> Response {
    match simulator.set(&mood) {
        Some(mood) => answer(StatusCode::OK, &json!({ "downstream": mood })),
        None => answer(StatusCode::NOT_FOUND, &json!({ "error": format!("there are {}", moods()) })),
    }
}

/// Answers as the mood is.
async fn act(State(simulator): Shared, well: Value) -> Response {
    match now(&simulator.mood) {
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
