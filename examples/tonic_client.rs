//! tonic's client behind retries and a circuit that know gRPC's statuses.
//!
//! `cargo run --example tonic_client`: a client and its server, on a port of this machine. The messages and the methods are
//! written by hand here, as `protoc` would write them.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use http::{HeaderMap, Request, Response, uri::PathAndQuery};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use portcullis::{
    BoxError,
    breaker::{Circuit, CircuitBreakerLayer, Rejected},
    outcome::Outcome,
    retry::{Backoff, ReplayBody, ReplayLayer, RetryLayer, RetryPolicy},
};
use tonic::{
    Code, Status,
    body::Body,
    client::{Grpc, GrpcService},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower::{ServiceBuilder, service_fn};

#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "1")]
    text: String,
}

static CALLS: AtomicU32 = AtomicU32::new(0);

/// Busy once, well once, then told what it cannot know, and then down.
async fn greet(question: tonic::Request<Question>) -> Result<tonic::Response<Answer>, Status> {
    match CALLS.fetch_add(1, Relaxed) {
        0 => Err(Status::unavailable("still starting")),
        1 => Ok(tonic::Response::new(Answer { text: format!("hello {}", question.into_inner().name) })),
        2 => Err(Status::not_found("nobody of that name")),
        _ => Err(Status::unavailable("down")),
    }
}

async fn serve() -> Result<SocketAddr, BoxError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: Request<hyper::body::Incoming>| {
                let mut server = tonic::server::Grpc::new(ProstCodec::<Answer, Question>::default());
                Ok::<_, BoxError>(server.unary(service_fn(greet), request).await)
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            tokio::spawn(connection);
        }
    });
    Ok(address)
}

/// Every answer of gRPC's is a 200 over HTTP. What went wrong is in `grpc-status`, which a server that fails before it has
/// streamed anything sends in the head.
fn outcome(headers: &HeaderMap) -> Outcome {
    match Status::from_header_map(headers).map(|status| status.code()) {
        None | Some(Code::Ok) => Outcome::Success,
        Some(Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::Unknown | Code::DataLoss) => {
            Outcome::Failure
        }
        Some(Code::ResourceExhausted | Code::Cancelled) => Outcome::Ignored,
        // The service is up, and the request was wrong.
        Some(_) => Outcome::Success,
    }
}

fn count<E>(result: Result<&Response<Body>, &E>) -> Outcome {
    result.map_or(Outcome::Failure, |response| outcome(response.headers()))
}

/// What a circuit says, as a status; so whoever calls has one kind of error to look at.
fn status(error: impl Into<BoxError>) -> BoxError {
    let error = error.into();
    match error.downcast_ref::<Rejected>() {
        Some(rejected) => Status::unavailable(rejected.to_string()).into(),
        None => error,
    }
}

fn stack(channel: Channel, circuit: Circuit) -> Result<impl GrpcService<Body, ResponseBody = Body>, BoxError> {
    // Every call of gRPC's is a POST: only methods that may be repeated belong here.
    let retries = RetryPolicy::http()
        .retry_non_idempotent()
        .classify(count)
        .backoff(Backoff::exponential(Duration::from_millis(5), Duration::from_millis(20)))
        .build()?;
    Ok(ServiceBuilder::new()
        .map_err(status)
        .layer(ReplayLayer::new(64 * 1024))
        .layer(RetryLayer::new(retries))
        .layer(CircuitBreakerLayer::new(circuit).classify(count))
        .map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel))
}

async fn ask(client: &mut Grpc<impl GrpcService<Body, ResponseBody = Body>>, name: &str) -> Result<String, Status> {
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static("/example.Greeter/Greet");
    let question = tonic::Request::new(Question { name: name.to_owned() });
    let answer = client.unary(question, path, ProstCodec::<Question, Answer>::default()).await?;
    Ok(answer.into_inner().text)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let address = serve().await?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.timeout(Duration::from_secs(10)).connect_lazy();
    let circuit = Circuit::builder("greeter").consecutive_failures(3).build()?;
    let mut client = Grpc::new(stack(channel, circuit.clone())?);

    let text = ask(&mut client, "Ada").await?;
    assert_eq!((text.as_str(), CALLS.load(Relaxed)), ("hello Ada", 2));
    println!("{text}, at the second attempt");

    let error = ask(&mut client, "nobody").await.unwrap_err();
    assert_eq!((error.code(), CALLS.load(Relaxed)), (Code::NotFound, 3));
    println!("{:?}: no failure, and not tried again", error.code());

    let error = ask(&mut client, "Ada").await.unwrap_err();
    assert_eq!((error.code(), error.message(), CALLS.load(Relaxed)), (Code::Unavailable, "down", 6));
    println!("{:?} after three attempts, and the circuit is {}", error.code(), circuit.snapshot().state);

    let error = ask(&mut client, "Ada").await.unwrap_err();
    assert_eq!((error.code(), CALLS.load(Relaxed)), (Code::Unavailable, 6));
    println!("{}", error.message());
    Ok(())
}
