//! A gateway between NICE Cognigy's webhooks and a REST API that may be slow, rate limited or down.
//!
//! It shows every layer of `portcullis` at work: [`routes`] verifies signatures, [`downstream`] is the stack of retry and
//! circuit breaker that both webhooks call through, [`lookup`] puts the fallback around it, and [`probe`] closes the circuit
//! without waiting for live calls. `cargo run --example cognigy_gateway` needs no settings; `--help` lists them.

mod answers;
mod attempt;
mod dashboard;
mod dialog;
mod downstream;
mod exchange;
mod greeting;
mod health;
mod inject;
mod json;
mod logging;
mod lookup;
mod metrics;
mod oauth;
mod policies;
mod probe;
mod proxied;
mod queue;
mod queued;
mod recent;
mod routes;
mod server;
mod settings;
mod shutdown;
mod simulator;
mod status;
mod telemetry;
mod tls;
mod trace;
mod worker;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use portcullis::{
    ConfigError,
    signature::{Scheme, Secret, SignatureLayer},
};
use tokio::{join, net::TcpListener, runtime, time::timeout};
use tower::ServiceExt;

use crate::{
    downstream::Downstream,
    inject::Injections,
    lookup::Lookups,
    proxied::Proxied,
    queue::{Lane, Queue},
    recent::Origin,
    routes::Gateway,
    settings::{BaseUrl, Settings, Stop, Switch},
    shutdown::{Phase, Shutdown, pause},
    worker::Worker,
};

/// How long it may take to put broken-off jobs back.
const PUT_BACK: Duration = Duration::from_secs(3);
/// How often recorded metrics are moved into their buckets, expired results deleted, and the queue is counted.
const UPKEEP: Duration = Duration::from_secs(5);

/// Futures are boxed on one thread and dropped on another, and many are too large for the C library's caches: there each of
/// them would take the lock of an arena.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let stopped = match Settings::read() {
        Ok(settings) => on_runtime(run(settings)).unwrap_or_else(|error| Err(format!("no runtime: {error}"))),
        Err(Stop::Help(text)) => {
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Stop::Invalid(line)) => Err(line),
    };
    match stopped {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            eprintln!("error: {}", line.replace('\n', " "));
            ExitCode::from(2)
        }
    }
}

/// Runs a future to its end, and waits for nothing else: the system may look for a name for longer than a shutdown may take, on a
/// thread that cannot be broken off.
fn on_runtime<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

/// Starts the gateway and runs it to its end, or says on one line why it cannot start.
async fn run(settings: Settings) -> Result<(), String> {
    // A connection is a file, and a machine's default is often 1,024 of them. Where more are not allowed, it stays at that.
    drop(rlimit::increase_nofile_limit(u64::MAX));
    let signalled = shutdown::signalled().map_err(|error| format!("no signal can be handled: {error}"))?;
    let listener = TcpListener::bind(&settings.listen_addr)
        .await
        .map_err(|error| format!("LISTEN_ADDR: cannot listen on {}: {error}", settings.listen_addr))?;
    let address = listener.local_addr().map_err(|error| format!("LISTEN_ADDR: {error}"))?;
    let queue = Queue::open(&settings.queue_url, settings.result_ttl).map_err(|error| format!("QUEUE_URL: {error}"))?;
    let circuit = policies::circuit("downstream", &settings).map_err(named("BREAKER_"))?;
    let (secret, generated) = secret(&settings);
    let metrics = metrics::Page::install()?;

    let (phase, shutdown) = Shutdown::new();
    let (base, simulator) = match settings.downstream_url.clone() {
        Some(base) => (base, None),
        None => {
            let simulator = simulator::start()
                .await
                .map_err(|error| format!("DOWNSTREAM_URL: nothing can be simulated in its place: {error}"))?;
            (format!("http://{}", simulator.address).parse::<BaseUrl>()?, Some(simulator))
        }
    };
    let http = exchange::client(tls::system()?);
    let api = match &settings.downstream_ca_file {
        Some(file) => exchange::client(tls::given(file).map_err(|error| format!("DOWNSTREAM_CA_FILE: {error}"))?),
        None => http,
    };
    // There is one, for as long as the gateway runs.
    let downstream: &'static Downstream = Box::leak(Box::new(Downstream::new(&settings, &base, api, http)));
    let client = |origin, deadline| downstream.client(&settings, &circuit, origin, deadline).map_err(named("RETRY_"));
    let proxy = client(Origin::Proxy, settings.proxy_deadline)?;
    let jobs = client(Origin::Job, settings.job_timeout)?;
    let spans =
        telemetry::provider(&settings, http).map_err(|error| format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}"))?;
    logging::init(&settings, spans.as_ref())?;
    settings.warn();
    // What is weak about a secret is told when it is read.
    let signature = signature(&settings, &secret).map_err(named("COGNIGY_WEBHOOK_SECRET"))?;

    let settings = Arc::new(settings);
    let places = settings.queue_concurrency;
    let lookups = Worker {
        queue: queue.clone(),
        work: Lookups::new(jobs, downstream, Arc::clone(&settings)),
        places,
        shutdown: shutdown.clone(),
    };
    let injections = match settings.cognigy_inject_url.clone() {
        Some(url) => {
            let injections = Injections::new(Arc::clone(&settings), url, http, &queue, &shutdown);
            let work = injections.map_err(named("BREAKER_"))?;
            Some(Worker { queue: queue.clone(), work, places, shutdown: shutdown.clone() })
        }
        None => None,
    };
    if !settings.health_probe_interval.is_zero() {
        tokio::spawn(probe::probe(circuit.clone(), settings.health_probe_interval, downstream));
    }
    tokio::spawn(upkeep(metrics.clone(), queue.clone()));
    let buttons = settings.dashboard == Switch::On && dashboard::may_have_buttons(address);
    let page = (settings.dashboard == Switch::On).then(|| {
        dashboard::start(dashboard::Parts {
            circuit: circuit.clone(),
            queue: queue.clone(),
            recent: &downstream.recent,
            shutdown: shutdown.clone(),
            http,
            address,
            secret: secret.clone(),
            simulator: simulator.clone(),
        })
    });
    let call = Box::leak(Box::new(move |request| proxy.clone().oneshot(request).boxed()));
    let proxied = Box::leak(Box::new(Proxied { downstream, call }));
    let gateway = Arc::new(Gateway { queue, circuit, metrics });
    let router = routes::router(gateway, proxied, signature).merge(page.unwrap_or_default());

    let simulator = simulator.map(|simulator| simulator.address);
    greeting::greet(address, generated.then_some(secret.as_str()), simulator, buttons);
    let serving = tokio::spawn(server::serve(listener, router, settings.header_timeout, shutdown));
    let working = tokio::spawn(lookups.run());
    let injecting = tokio::spawn(async move {
        if let Some(injections) = injections {
            injections.run().await;
        }
    });
    let running = async { join!(serving, working, injecting) };
    let mut running = std::pin::pin!(running);

    let signal = signalled.await;
    tracing::info!(signal, at_most = ?settings.shutdown_timeout, "stopping, once what runs is done");
    phase.send_replace(Phase::Draining);
    if timeout(settings.shutdown_timeout, running.as_mut()).await.is_err() {
        phase.send_replace(Phase::Cut);
        let _ = timeout(PUT_BACK, running).await;
    }
    if let Some(spans) = spans {
        telemetry::flush(spans).await;
    }
    Ok(())
}

/// The configured secret, or one made for this run alone; and whether it was made.
fn secret(settings: &Settings) -> (String, bool) {
    match &settings.cognigy_webhook_secret {
        Some(secret) => (secret.expose().to_owned(), false),
        None => (hex::encode(rand::random::<[u8; 32]>()), true),
    }
}

fn signature(settings: &Settings, secret: &str) -> Result<SignatureLayer, ConfigError> {
    let layer = SignatureLayer::new(Scheme::cognigy(), Secret::new(secret)?.label("COGNIGY_WEBHOOK_SECRET"))
        .max_body_bytes(settings.max_body_bytes.get())
        .body_timeout(settings.body_timeout);
    Ok(match &settings.cognigy_webhook_secret_previous {
        Some(previous) => layer.also_accept(Secret::new(previous.expose())?.label("COGNIGY_WEBHOOK_SECRET_PREVIOUS")),
        None => layer,
    })
}

/// Names the gateway's setting in the error of a library's one.
fn named(prefix: &str) -> impl Fn(ConfigError) -> String {
    move |error| format!("{prefix}*: {error}")
}

async fn upkeep(metrics: metrics::Page, queue: Queue) {
    loop {
        metrics.upkeep();
        // Where the queue is away, the next time is soon enough.
        let more = queue.sweep().await.unwrap_or(false);
        for lane in Lane::ALL {
            metrics::backlog(lane, queue.backlog(lane).await.ok());
        }
        if !more {
            pause(UPKEEP).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread};

    use super::*;

    #[test]
    fn a_thread_that_cannot_be_broken_off_holds_nothing_up() {
        let ((release, held), (ended, end)) = (channel::<()>(), channel());
        thread::spawn(move || {
            let run = async {
                let (begun, begins) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || {
                    begun.send(()).unwrap();
                    held.recv()
                });
                begins.await
            };
            ended.send(on_runtime(run).unwrap())
        });
        assert_eq!(end.recv_timeout(Duration::from_secs(20)), Ok(Ok(())));
        drop(release);
    }
}
