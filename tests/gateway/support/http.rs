//! HTTP/1.1 by hand, for both ends: what goes over the wire is exactly what a test says.

use std::{io, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::{PATIENCE, sign};

/// A request or a response, as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line")
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// Status and JSON in one, for comparing.
    pub(crate) fn answer(&self) -> (u16, Value) {
        (self.status(), self.json())
    }
}

/// Reads one message; `None` when the peer closed before its first byte.
pub(crate) async fn read_message(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Message>> {
    let Some(mut message) = read_head(from).await? else { return Ok(None) };
    if let Some(length) = message.header("content-length") {
        message.body = vec![0; length.parse().map_err(|_| io::ErrorKind::InvalidData)?];
        from.read_exact(&mut message.body).await?;
    } else if message.header("transfer-encoding").is_some() {
        message.body = read_chunks(from).await?;
    }
    Ok(Some(message))
}

/// Reads a message that has no body, whatever its head says.
async fn read_head(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Message>> {
    if from.fill_buf().await?.is_empty() {
        return Ok(None);
    }
    let start = read_line(from).await?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(from).await?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some(Message { start, headers, body: Vec::new() }))
}

async fn read_line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn read_chunks(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = usize::from_str_radix(&read_line(from).await?, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        let start = body.len();
        body.resize(start + size, 0);
        from.read_exact(&mut body[start..]).await?;
        read_line(from).await?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// A request to be sent on a connection of its own.
#[derive(Clone)]
pub(crate) struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self::of("gateway", method, path)
    }

    /// One that names its host so.
    pub(crate) fn of(host: &str, method: &str, path: &str) -> Self {
        Self { head: format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n"), body: Vec::new() }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// To the queued route, not yet signed.
    pub(crate) fn queued(body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", "/webhooks/cognigy").body(body)
    }

    /// To the proxied route, without credentials yet.
    pub(crate) fn proxied(body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", "/webhook/cognigy").body(body)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    pub(crate) fn signed(self, secret: &str) -> Self {
        let signature = sign(secret, &self.body);
        self.header("X-Cognigy-Signature", &signature)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The head as far as it is written, to be ended by the one who sends it.
    pub(crate) fn into_head(self) -> String {
        self.head
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = format!("{}Content-Length: {}\r\n\r\n", self.head, self.body.len()).into_bytes();
        bytes.extend(self.body);
        bytes
    }

    /// Sends it, and waits for the answer.
    pub(crate) async fn send(self, to: SocketAddr) -> io::Result<Message> {
        let mut stream = BufReader::new(TcpStream::connect(to).await?);
        let is_head = self.head.starts_with("HEAD ");
        stream.write_all(&self.header("Connection", "close").into_bytes()).await?;
        let answer = async { if is_head { read_head(&mut stream).await } else { read_message(&mut stream).await } };
        timeout(PATIENCE, answer).await??.ok_or(io::ErrorKind::UnexpectedEof.into())
    }

    /// Sends it, and keeps the connection open without reading from it.
    pub(crate) async fn start(self, to: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(to).await.expect("the gateway takes connections");
        stream.write_all(&self.into_bytes()).await.expect("the gateway reads");
        stream
    }
}
