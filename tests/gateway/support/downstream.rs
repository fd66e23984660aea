//! A downstream API that answers as scripted, and remembers what it was asked.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{Message, eventually, read_message};

/// The path that the probe asks, below any base.
const HEALTH: &str = "/v2/health";

/// How one request is answered.
#[derive(Clone)]
pub(crate) struct Answer {
    /// What is sent, each part after a pause.
    parts: Vec<(Duration, Vec<u8>)>,
    end: End,
}

/// What follows on the last byte.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// The connection serves the next request.
    KeepAlive,
    Close,
    Reset,
    /// Nothing, for ever.
    Hang,
}

impl Answer {
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let mut bytes = format!("HTTP/1.1 {status} Scripted\r\n");
        for (name, value) in headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        let body = body.as_ref();
        if !matches!(status, 204 | 304) {
            bytes += &format!("Content-Length: {}\r\n", body.len());
        }
        bytes += "\r\n";
        Self::raw([bytes.as_bytes(), body].concat(), End::KeepAlive)
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::new(status, &[], r#"{"error":"scripted"}"#)
    }

    pub(crate) fn json(body: &str) -> Self {
        Self::new(200, &[("Content-Type", "application/json")], body)
    }

    pub(crate) fn ok() -> Self {
        Self::json(r#"{"tier":"gold"}"#)
    }

    pub(crate) fn retry_after(status: u16, value: &str) -> Self {
        Self::new(status, &[("Retry-After", value)], "{}")
    }

    /// Takes the request and says nothing.
    pub(crate) fn hang() -> Self {
        Self::raw("", End::Hang)
    }

    pub(crate) fn raw(bytes: impl Into<Vec<u8>>, end: End) -> Self {
        Self { parts: vec![(Duration::ZERO, bytes.into())], end }
    }

    /// One byte at a time.
    pub(crate) fn trickled(mut self, each: Duration) -> Self {
        self.parts = self.parts.into_iter().flat_map(|(_, bytes)| bytes).map(|byte| (each, vec![byte])).collect();
        self
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.parts[0].0 += delay;
        self
    }
}

/// One request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) message: Message,
    /// The caller hung up before it had the whole answer.
    pub(crate) abandoned: bool,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.message.header(name)
    }

    pub(crate) fn text(&self) -> &str {
        self.message.text()
    }
}

#[derive(Default)]
struct State {
    next: VecDeque<Answer>,
    always: Option<Answer>,
    health: Option<Answer>,
    received: Vec<Received>,
    running: usize,
    most_running: usize,
}

/// The server; it stops when this is dropped.
pub(crate) struct Downstream {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for Downstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Downstream {
    pub(crate) async fn start(always: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let state = Arc::new(Mutex::new(State { always: Some(always), ..State::default() }));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub(crate) fn always(&self, answer: Answer) {
        self.state.lock().unwrap().always = Some(answer);
    }

    /// First these, one for each request; then what it always answers.
    pub(crate) fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.lock().unwrap().next.extend(answers);
    }

    /// What `/v2/health` says; it is answered like any other path until this is set.
    pub(crate) fn health(&self, answer: Answer) {
        self.state.lock().unwrap().health = Some(answer);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.state.lock().unwrap().received.len()
    }

    pub(crate) fn probes(&self) -> Vec<Received> {
        self.received().into_iter().filter(|request| request.path.ends_with(HEALTH)).collect()
    }

    /// The most requests that were ever open at once.
    pub(crate) fn most_running(&self) -> usize {
        self.state.lock().unwrap().most_running
    }

    pub(crate) async fn called(&self, times: usize) -> Vec<Received> {
        eventually(&format!("{times} calls downstream"), async || (self.calls() >= times).then(|| self.received()))
            .await
    }

    /// The waits between the requests.
    pub(crate) fn gaps(&self) -> Vec<Duration> {
        self.received().windows(2).map(|pair| pair[1].at - pair[0].at).collect()
    }

    /// The idempotency keys of all requests, each of which has one.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.received().iter().map(|request| request.header("idempotency-key").expect("a key").to_owned()).collect()
    }

    /// The JSON bodies of all requests.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.received().iter().map(|request| request.message.json()).collect()
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(message) = read_message(&mut stream).await? {
        let mut words = message.start.split(' ').map(str::to_owned);
        let method = words.next().unwrap_or_default();
        let path = words.next().unwrap_or_default();
        let (answer, number) = {
            let mut state = state.lock().unwrap();
            let scripted = if path.ends_with(HEALTH) { state.health.clone() } else { None };
            let answer = scripted.or_else(|| state.next.pop_front()).or_else(|| state.always.clone());
            state.received.push(Received { at: Instant::now(), method, path, message, abandoned: false });
            state.running += 1;
            state.most_running = state.most_running.max(state.running);
            (answer.expect("a scripted answer"), state.received.len() - 1)
        };
        let sent = send(&mut stream, &answer).await;
        let mut state = state.lock().unwrap();
        state.running -= 1;
        state.received[number].abandoned = sent.is_err();
        drop(state);
        sent?;
        match answer.end {
            End::KeepAlive => {}
            End::Close | End::Hang => return Ok(()),
            End::Reset => return stream.get_ref().set_zero_linger(),
        }
    }
    Ok(())
}

/// Fails when the caller hangs up before the end.
async fn send(stream: &mut BufReader<TcpStream>, answer: &Answer) -> io::Result<()> {
    for (delay, bytes) in &answer.parts {
        tokio::select! {
            () = sleep(*delay) => {}
            gone = hung_up(stream) => return gone,
        }
        stream.write_all(bytes).await?;
    }
    if matches!(answer.end, End::Hang) {
        return hung_up(stream).await;
    }
    Ok(())
}

async fn hung_up(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    stream.fill_buf().await?;
    Err(io::ErrorKind::ConnectionAborted.into())
}

/// The URL of a downstream that refuses connections, for as long as the socket is held.
pub(crate) fn refused() -> (String, TcpSocket) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    (format!("http://{}", socket.local_addr().expect("a bound port")), socket)
}
