//! `tower::balance` over two endpoints, one of which fails: each has a circuit of its own, and its layer is gated.
//!
//! `cargo run --example balance`: a client and two servers, on ports of this machine.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use bytes::Bytes;
use http::{
    Request, Response, Uri,
    uri::{Authority, Scheme},
};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use portcullis::{
    BoxError,
    breaker::{Circuit, CircuitBreakerLayer, HalfOpen, State},
    time::Clock,
};
use tower::{
    Service, ServiceBuilder, ServiceExt,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, PendingRequestsDiscover},
};

const OPEN_FOR: Duration = Duration::from_millis(200);

/// A server, and how it is seen from inside.
struct Endpoint {
    address: Authority,
    well: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    circuit: Circuit,
}

impl Endpoint {
    async fn start(name: &'static str) -> Result<Self, BoxError> {
        let (well, calls) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
        let (is_well, seen) = (Arc::clone(&well), Arc::clone(&calls));
        let handler = async move || {
            seen.fetch_add(1, Relaxed);
            if is_well.load(Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string().parse()?;
        tokio::spawn(axum::serve(listener, Router::new().route("/", get(handler))).into_future());
        let circuit = Circuit::builder(name)
            .consecutive_failures(2)
            .open_for(OPEN_FOR)
            .half_open(HalfOpen::permits(1))
            .build()?;
        Ok(Self { address, well, calls, circuit })
    }

    /// The client of this endpoint, which is not ready while the circuit is open.
    fn client(
        &self,
    ) -> impl Service<Request<Full<Bytes>>, Response = Response<Incoming>, Error = BoxError, Future: Send> + use<> {
        let address = self.address.clone();
        ServiceBuilder::new()
            .map_err(BoxError::from)
            .layer(CircuitBreakerLayer::http(self.circuit.clone()).gated())
            .map_request(move |mut request: Request<_>| {
                let mut uri = mem::take(request.uri_mut()).into_parts();
                (uri.scheme, uri.authority) = (Some(Scheme::HTTP), Some(address.clone()));
                *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
                request
            })
            .service(Client::builder(TokioExecutor::new()).build_http())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let (first, second) = (Endpoint::start("first").await?, Endpoint::start("second").await?);
    let clients = ServiceList::new([first.client(), second.client()]);
    // Of two endpoints that are ready, the one with fewer calls under way.
    let mut balance = Balance::new(PendingRequestsDiscover::new(clients, CompleteOnResponse::default()));
    let mut failures_of = async |calls: u32| -> Result<u32, BoxError> {
        let mut failed = 0;
        for _ in 0..calls {
            let response = balance.ready().await?.call(Request::get("/").body(Full::default())?).await?;
            failed += u32::from(!response.status().is_success());
        }
        Ok(failed)
    };

    assert_eq!(failures_of(40).await?, 0);
    let well = (first.calls.swap(0, Relaxed), second.calls.swap(0, Relaxed));
    assert!(well.0 > 0 && well.1 > 0);
    println!("both are well: {} and {} calls", well.0, well.1);

    first.well.store(false, Relaxed);
    let clock = Clock::precise();
    let begin = clock.now();
    let failed = failures_of(40).await?;
    assert_eq!(failed, first.calls.load(Relaxed), "each was an answer of the first endpoint, and none a rejection");
    // Two opened its circuit, and one probe may have followed in each open time.
    let probes = clock.now().since(begin).as_millis() / OPEN_FOR.as_millis();
    assert!(failed >= 2 && u128::from(failed) <= 2 + probes, "{failed}");
    println!("the first is down: {failed} of 40 calls failed, and its circuit is {}", first.circuit.snapshot().state);

    first.well.store(true, Relaxed);
    // The balancer asks no endpoint that is not ready; once its open time is over, one of these calls is the probe.
    let recovery = async {
        while first.circuit.snapshot().state != State::Closed {
            assert_eq!(failures_of(1).await?, 0);
        }
        Ok::<_, BoxError>(())
    };
    tokio::time::timeout(Duration::from_secs(10), recovery).await??;
    first.calls.store(0, Relaxed);
    assert_eq!(failures_of(40).await?, 0);
    assert!(first.calls.load(Relaxed) > 0);
    println!("the first has recovered: {} of 40 calls", first.calls.load(Relaxed));
    Ok(())
}
