//! The gateway as a process.

use std::{
    collections::BTreeMap,
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::timeout,
};

use super::{Message, PATIENCE, Request, eventually, within};

pub(crate) const SECRET: &str = "s3cr:et of the tests";

/// The built example, as fresh as these tests. An example with unit tests is built as a test alone by `cargo test`, so the
/// program itself may be missing, or older than its source.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let tests = env::current_exe().expect("the path of this test");
    let profile = tests.ancestors().nth(2).expect("tests lie in TARGET/PROFILE/deps");
    let mut build = std::process::Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", "cognigy_gateway", "--message-format", "json-render-diagnostics"]);
    // What cargo tells a test about its package would look to build scripts as if they had to run again.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            build.env_remove(name);
        }
    }
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(built.status.success(), "cargo build --example cognigy_gateway failed");
    let messages =
        built.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut executables = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables.next_back().expect("cargo says where it put the example")
});

/// A directory that goes when the last one who uses it does.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("gateway-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Settings of a gateway; started more than once, it is the same gateway, with the same queue, after a restart.
#[derive(Clone)]
pub(crate) struct Setup {
    dir: Arc<Dir>,
    settings: BTreeMap<String, String>,
    arguments: Vec<String>,
    largest_file: Option<u64>,
}

impl Setup {
    /// Fast retries without jitter, no health probe, a queue of its own.
    pub(crate) fn new(downstream: impl Into<String>) -> Self {
        let setup = Self::bare();
        let queue = format!("sqlite://{}", setup.path("queue.db").display());
        setup
            .set("COGNIGY_WEBHOOK_SECRET", SECRET)
            .set("DOWNSTREAM_URL", downstream)
            .set("QUEUE_URL", queue)
            .set("RETRY_BASE_DELAY", "20ms")
            .set("RETRY_JITTER", "0s")
            .set("HEALTH_PROBE_INTERVAL", "0s")
    }

    /// Nothing but a free port.
    pub(crate) fn bare() -> Self {
        // Here, before a test looks at its watch.
        LazyLock::force(&PROGRAM);
        let setup =
            Self { dir: Arc::new(Dir::new()), settings: BTreeMap::new(), arguments: Vec::new(), largest_file: None };
        setup.set("LISTEN_ADDR", "127.0.0.1:0")
    }

    pub(crate) fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn with(self, settings: &[(&str, &str)]) -> Self {
        settings.iter().fold(self, |setup, (name, value)| setup.set(name, *value))
    }

    pub(crate) fn setting(&self, name: &str) -> &str {
        &self.settings[name]
    }

    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The system lets none of its files grow beyond this many KiB, as a disk does that is full.
    pub(crate) fn files_of_at_most(mut self, kib: u64) -> Self {
        self.largest_file = Some(kib);
        self
    }

    /// A path in the directory that the gateway runs in.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }

    fn command(&self) -> Command {
        let mut command = match self.largest_file {
            None => Command::new(&*PROGRAM),
            Some(kib) => {
                let mut shell = Command::new("sh");
                // The shell counts in halves of a KiB. Who does not ignore the signal is killed by it.
                shell.args(["-c", r#"trap "" XFSZ && ulimit -f "$0" && exec "$@""#]);
                shell.arg((2 * kib).to_string()).arg(&*PROGRAM);
                shell
            }
        };
        command.env_clear();
        for name in ["PATH", "LLVM_PROFILE_FILE"] {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(&self.settings).args(&self.arguments).current_dir(&self.dir.0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it, and waits until it says where it listens.
    pub(crate) async fn start(&self) -> Gateway {
        let mut child = self.command().spawn().expect("the gateway starts");
        let stdout = collect(child.stdout.take().expect("a pipe"));
        let stderr = collect(child.stderr.take().expect("a pipe"));
        let address = eventually("the gateway says where it listens", async || {
            if let Some(status) = child.try_wait().expect("a child to wait for") {
                panic!("the gateway ended with {status}: {}", text(&stderr));
            }
            let stdout = text(&stdout);
            let (line, _) = stdout.split_once('\n')?;
            Some(line.strip_prefix("listening on http://").and_then(|address| address.parse().ok()).expect(line))
        })
        .await;
        Gateway { child, address, stdout, stderr, _dir: Arc::clone(&self.dir) }
    }

    /// Runs it to its end: exit code, stdout, stderr.
    pub(crate) async fn run(&self) -> (Option<i32>, String, String) {
        let output = timeout(PATIENCE, self.command().output()).await.expect("the gateway ends").expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

type Output = Arc<Mutex<Vec<u8>>>;

fn collect(mut from: impl AsyncRead + Unpin + Send + 'static) -> Output {
    let output = Output::default();
    let sink = Arc::clone(&output);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            sink.lock().unwrap().extend(&buffer[..read]);
        }
    });
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.lock().unwrap()).into_owned()
}

/// A running gateway; dropping it kills it.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    stdout: Output,
    stderr: Output,
    _dir: Arc<Dir>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- stderr of the gateway at {}:\n{}", self.address, text(&self.stderr));
        }
    }
}

impl Gateway {
    pub(crate) fn stdout(&self) -> String {
        text(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        text(&self.stderr)
    }

    pub(crate) async fn send(&self, request: Request) -> Message {
        self.try_send(request).await.expect("an answer from the gateway")
    }

    pub(crate) async fn try_send(&self, request: Request) -> io::Result<Message> {
        request.send(self.address).await
    }

    pub(crate) async fn get(&self, path: &str) -> Message {
        self.send(Request::get(path)).await
    }

    /// Queues a job, and gives its id.
    pub(crate) async fn enqueue(&self, body: impl Into<Vec<u8>>) -> String {
        let response = self.send(Request::queued(body).signed(SECRET)).await;
        let (status, json) = response.answer();
        let task = json["taskId"].as_str().unwrap_or_default().to_owned();
        assert_eq!((status, json), (200, json!({ "status": "accepted", "taskId": task })));
        task
    }

    pub(crate) async fn status(&self, task: &str) -> Message {
        self.get(&format!("/webhooks/cognigy/status/{task}")).await
    }

    /// Waits for the end of a job.
    pub(crate) async fn result(&self, task: &str) -> Message {
        self.result_within(PATIENCE, task).await
    }

    pub(crate) async fn result_within(&self, limit: Duration, task: &str) -> Message {
        within(limit, "the end of a job", async || {
            let response = self.status(task).await;
            if response.status() == 202 {
                assert_eq!(response.json(), json!({ "status": "processing" }));
                return None;
            }
            Some(response)
        })
        .await
    }

    /// Queues a job with nothing special in it, and waits for its end.
    pub(crate) async fn job(&self) -> (u16, Value) {
        let task = self.enqueue(r#"{"conversationId":"c-1"}"#).await;
        self.result(&task).await.answer()
    }

    pub(crate) async fn proxy(&self, body: impl Into<Vec<u8>>) -> Message {
        self.send(proxied(body)).await
    }

    /// One proxied call, for its status.
    pub(crate) async fn call(&self) -> u16 {
        self.proxy("{}").await.status()
    }

    pub(crate) async fn circuit(&self) -> Value {
        self.get("/health").await.json()["circuit"].take()
    }

    pub(crate) async fn until_circuit(&self, state: &str) -> Value {
        eventually(&format!("the circuit is {state}"), async || {
            let circuit = self.circuit().await;
            (circuit["state"] == state).then_some(circuit)
        })
        .await
    }

    pub(crate) async fn until_ready(&self) {
        eventually("the queue is ready", async || (self.get("/health").await.status() == 200).then_some(())).await;
    }

    /// The sum of the series of this name that carry all these labels; there is one at least.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let metrics = self.get("/metrics").await;
        let mut sum = None;
        for line in metrics.text().lines() {
            let (series, value) = line.rsplit_once(' ').unwrap_or_default();
            let (found, with) = series.split_once('{').unwrap_or((series, ""));
            if found == name && labels.iter().all(|(key, value)| with.contains(&format!("{key}=\"{value}\""))) {
                *sum.get_or_insert(0.0) += value.parse::<f64>().expect("a number");
            }
        }
        sum.unwrap_or_else(|| panic!("no series {name} with {labels:?} in\n{}", metrics.text()))
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("a running gateway").to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await.expect("kill");
        assert!(sent.success());
    }

    /// The most memory that it has had so far, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let id = self.child.id().expect("a running gateway");
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("a process to look at");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim_end_matches("kB").trim().parse::<u64>().expect("a number") / 1024
    }

    /// As `kill -9` does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("a running gateway");
    }

    /// Waits for its end; `None` when it is still running by then.
    pub(crate) async fn exit(&mut self, limit: Duration) -> Option<i32> {
        timeout(limit, self.child.wait()).await.ok()?.expect("a child to wait for").code()
    }
}

/// A proxied call with good credentials.
pub(crate) fn proxied(body: impl Into<Vec<u8>>) -> Request {
    Request::proxied(body).header("Authorization", &format!("Bearer {SECRET}"))
}
