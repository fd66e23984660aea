//! A Redis server for one test. The gateway's own tests use this file too.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::channel,
    },
    thread,
    time::Duration,
};

/// What lets clients in.
pub(crate) const PASSWORD: &str = "pa55word-of-redis";

/// A server that keeps what it was told, on a port of its own; dropping it kills it.
pub(crate) struct RedisServer {
    port: u16,
    dir: PathBuf,
    child: Option<Child>,
}

impl RedisServer {
    /// Reserves a port and a directory; nothing listens there yet.
    pub(crate) fn away() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("a bound port").port();
        let dir = option_env!("CARGO_TARGET_TMPDIR").map_or_else(env::temp_dir, PathBuf::from);
        let dir = dir.join(format!("redis-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&dir).expect("a directory for the server");
        Self { port, dir, child: None }
    }

    pub(crate) fn start() -> Self {
        let mut server = Self::away();
        server.up();
        server
    }

    /// Starts it, and waits until it has loaded what it knew.
    pub(crate) fn up(&mut self) {
        let mut child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--requirepass", PASSWORD])
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        self.child = Some(child);
        let (ready, is_ready) = channel();
        thread::spawn(move || {
            // To the end, so that the server never waits for a reader.
            for line in output.lines().map_while(Result::ok) {
                if line.contains("Ready to accept connections") {
                    let _ = ready.send(());
                }
            }
        });
        is_ready.recv_timeout(Duration::from_secs(20)).expect("the server takes connections");
    }

    /// As `kill -9` does.
    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("a running server").id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().expect("kill").success());
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// A connection to look behind the gateway's back.
    pub(crate) fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url()).and_then(|client| client.get_connection()).expect("the server lets us in")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.down();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
