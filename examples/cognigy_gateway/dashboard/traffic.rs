//! Signed webhooks that the gateway sends to itself, so that there is something to see: for a minute, and then no more.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::header;
use http_body_util::Full;
use portcullis::signature::{Scheme, Secret, Signer};
use tokio::{
    select,
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};
use tower::ServiceExt;

use crate::{
    exchange::{Client, Request, SHORT, exchange},
    routes,
    shutdown::{Phase, Shutdown},
};

/// Two webhooks a second, by turns of both styles: with them five failures in a row take three seconds.
const EVERY: Duration = Duration::from_millis(500);
const PER_SECOND: u32 = 2;
const WEBHOOKS: u32 = 60 * PER_SECOND;

pub(super) struct Traffic {
    sender: Arc<Sender>,
    /// Webhooks that are still to be sent.
    left: Arc<AtomicU32>,
    running: Mutex<Option<AbortHandle>>,
    shutdown: Shutdown,
}

struct Sender {
    http: Client,
    address: SocketAddr,
    signer: Signer,
}

impl Traffic {
    /// `None` where nothing can be signed with such a secret.
    pub(super) fn new(http: Client, address: SocketAddr, secret: &str, shutdown: Shutdown) -> Option<Self> {
        let signer = Signer::new(Scheme::cognigy(), Secret::new(secret).ok()?);
        let sender = Arc::new(Sender { http, address, signer });
        Some(Self { sender, left: Arc::default(), running: Mutex::default(), shutdown })
    }

    /// Sends for a minute from now.
    pub(super) fn begin(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = running.take() {
            before.abort();
        }
        self.left.store(WEBHOOKS, Ordering::Relaxed);
        let (sender, left, mut shutdown) = (Arc::clone(&self.sender), Arc::clone(&self.left), self.shutdown.clone());
        let task = tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for number in 0..WEBHOOKS {
                select! {
                    _ = ticks.tick() => {}
                    () = shutdown.reached(Phase::Draining) => break,
                }
                if let Some(request) = sender.webhook(number) {
                    // Who stops the traffic hangs up on nobody.
                    tokio::spawn(exchange(sender.http, SHORT).oneshot(request));
                }
                left.store(WEBHOOKS - number - 1, Ordering::Relaxed);
            }
        });
        *running = Some(task.abort_handle());
    }

    /// Sends no more.
    pub(super) fn end(&self) {
        if let Some(running) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            running.abort();
        }
        self.left.store(0, Ordering::Relaxed);
    }

    /// How long it still sends.
    pub(super) fn seconds_left(&self) -> u32 {
        self.left.load(Ordering::Relaxed).div_ceil(PER_SECOND)
    }
}

impl Sender {
    fn webhook(&self, number: u32) -> Option<Request> {
        let route = if number.is_multiple_of(2) { routes::PROXIED } else { routes::QUEUED };
        let body = format!(
            r#"{{"conversationId":"simulated-{number}","currentNode":"ask_order","variables":{{"customerId":"C-1001"}}}}"#
        );
        let mut request = http::Request::post(format!("http://{}{route}", self.address))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.clone())))
            .ok()?;
        self.signer.sign(request.headers_mut(), body.as_bytes()).ok()?;
        Some(request)
    }
}
