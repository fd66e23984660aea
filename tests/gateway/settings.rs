//! Settings: each bad value ends the start with one line that names it, and good ones do what they say.

use std::net::TcpListener;

use futures_util::{StreamExt, stream};

use crate::support::{Answer, Downstream, Request, Setup, eventually, start_with};

/// The names of the settings, as variables, flags or in words, are all the same to this.
fn folded(text: &str) -> String {
    text.to_uppercase().replace('-', "_")
}

/// What is wrong with how it refused to start; empty if nothing is.
async fn refused(setup: Setup, name: &str) -> Vec<String> {
    let (code, stdout, stderr) = setup.run().await;
    let mut wrong = Vec::new();
    if code != Some(2) {
        wrong.push(format!("exit code {code:?}"));
    }
    if !stdout.is_empty() {
        wrong.push(format!("stdout {stdout:?}"));
    }
    if stderr.lines().count() != 1 || !stderr.ends_with('\n') {
        wrong.push(format!("not one line on stderr: {stderr:?}"));
    }
    if !folded(&stderr).contains(name) {
        wrong.push(format!("{name} is not named: {stderr:?}"));
    }
    wrong
}

pub(crate) async fn all_refused(cases: Vec<(&str, Setup, &str)>) {
    let mut reports = stream::iter(cases)
        .map(async |(what, setup, name)| {
            // A gateway that starts after all is killed when its time is up.
            let wrong = tokio::time::timeout(crate::support::millis_of(8000), refused(setup, name)).await;
            let wrong = wrong.unwrap_or_else(|_| vec!["it started".to_owned()]);
            wrong.into_iter().map(|wrong| format!("{what}: {wrong}\n")).collect::<String>()
        })
        .buffer_unordered(4);
    let mut report = String::new();
    while let Some(wrong) = reports.next().await {
        report += &wrong;
    }
    assert!(report.is_empty(), "{report}");
}

const BAD: &[(&str, &str)] = &[
    ("LISTEN_ADDR", "nonsense"),
    ("LISTEN_ADDR", "127.0.0.1"),
    ("LISTEN_ADDR", "127.0.0.1:99999"),
    ("COGNIGY_WEBHOOK_SECRET", ""),
    ("COGNIGY_WEBHOOK_SECRET_PREVIOUS", ""),
    ("MAX_BODY_BYTES", "much"),
    ("MAX_BODY_BYTES", "-1"),
    ("BODY_TIMEOUT", "10"),
    ("BODY_TIMEOUT", "0s"),
    ("HEADER_TIMEOUT", "soon"),
    ("HEADER_TIMEOUT", "-1s"),
    ("HEADER_TIMEOUT", "0s"),
    ("DOWNSTREAM_URL", "not a URL"),
    ("DOWNSTREAM_URL", "/v1"),
    ("DOWNSTREAM_URL", "ftp://127.0.0.1"),
    ("DOWNSTREAM_URL", ""),
    ("DOWNSTREAM_TIMEOUT", "10 parsecs"),
    ("DOWNSTREAM_TIMEOUT", "0s"),
    ("DOWNSTREAM_TIMEOUT", ""),
    ("DOWNSTREAM_MAX_BYTES", "1.5"),
    ("DOWNSTREAM_BEARER_TOKEN", "two\nlines"),
    ("OAUTH_TOKEN_URL", ""),
    ("OAUTH_TOKEN_URL", "nonsense"),
    ("OAUTH_TOKEN_URL", "ftp://127.0.0.1/token"),
    ("OAUTH_TOKEN_URL", "http://id:secret@127.0.0.1/token"),
    ("OAUTH_TOKEN_URL", "http://127.0.0.1/token"),
    ("OAUTH_CLIENT_ID", ""),
    ("OAUTH_CLIENT_ID", "id"),
    ("OAUTH_CLIENT_SECRET", ""),
    ("OAUTH_CLIENT_SECRET", "secret"),
    ("OAUTH_SCOPE", ""),
    ("OAUTH_SCOPE", "read"),
    ("COGNIGY_INJECT_URL", ""),
    ("COGNIGY_INJECT_URL", "nonsense"),
    ("COGNIGY_INJECT_URL", "ftp://127.0.0.1/inject"),
    ("COGNIGY_INJECT_URL", "http://user:key@127.0.0.1/inject"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://127.0.0.1:4317"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:key@127.0.0.1:4318"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318?key=1"),
    ("QUEUE_URL", "postgres://localhost/queue"),
    ("QUEUE_URL", "queue.db"),
    ("QUEUE_URL", "redis://"),
    ("QUEUE_URL", "rediss://127.0.0.1"),
    ("QUEUE_URL", ""),
    ("QUEUE_CONCURRENCY", "0"),
    ("QUEUE_CONCURRENCY", "many"),
    ("JOB_CIRCUIT_WAIT", "1 fortnight"),
    ("RESULT_TTL", "24"),
    ("SHUTDOWN_TIMEOUT", "s"),
    ("JOB_TIMEOUT", "0s"),
    ("JOB_TIMEOUT", "99999999999999999999s"),
    ("JOB_MAX_RUNS", "0"),
    ("PROXY_DEADLINE", "0s"),
    ("PROXY_DEADLINE", "7"),
    ("RETRY_MAX_ATTEMPTS", "0"),
    ("RETRY_MAX_ATTEMPTS", "three"),
    ("RETRY_MAX_ATTEMPTS", "-1"),
    ("RETRY_BASE_DELAY", "2"),
    ("RETRY_MAX_DELAY", "abc"),
    ("RETRY_JITTER", "1s1"),
    ("RETRY_AFTER_MAX", "NaNs"),
    ("BREAKER_CONSECUTIVE_FAILURES", "-1"),
    ("BREAKER_FAILURES", "x"),
    ("BREAKER_ERROR_RATE", "1.5"),
    ("BREAKER_ERROR_RATE", "-0.1"),
    ("BREAKER_ERROR_RATE", "NaN"),
    ("BREAKER_ERROR_RATE", "half"),
    ("BREAKER_MIN_CALLS", "0"),
    ("BREAKER_SLOW_CALL", "1500"),
    ("BREAKER_SLOW_RATE", "2"),
    ("BREAKER_SLOW_RATE", "inf"),
    ("BREAKER_MEAN_LATENCY", "0"),
    ("BREAKER_WINDOW", "0s"),
    ("BREAKER_OPEN_FOR", "0s"),
    ("BREAKER_PROBES", "0"),
    ("BREAKER_PROBE_SUCCESSES", "4"),
    ("BREAKER_PROBE_SUCCESSES", "0"),
    ("BREAKER_HALF_OPEN_TIMEOUT", "0s"),
    ("HEALTH_PROBE_INTERVAL", "often"),
    ("DASHBOARD", "maybe"),
    ("LOG_FORMAT", "xml"),
    ("RUST_LOG", "gateway=loudest"),
];

#[tokio::test]
async fn a_bad_value_is_one_line_that_names_the_setting() {
    let setup = || Setup::new("http://127.0.0.1:9");
    let labels: Vec<_> = BAD.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let cases =
        BAD.iter().zip(&labels).map(|((name, value), label)| (label.as_str(), setup().set(name, *value), *name));
    all_refused(cases.collect()).await;
}

#[tokio::test]
async fn a_bad_flag_is_refused_as_the_variable_is() {
    let setup = || Setup::new("http://127.0.0.1:9");
    all_refused(vec![
        ("attempts", setup().argument("--retry-max-attempts=0"), "RETRY_MAX_ATTEMPTS"),
        ("rate", setup().argument("--breaker-error-rate=7"), "BREAKER_ERROR_RATE"),
        ("duration", setup().argument("--job-timeout").argument("60"), "JOB_TIMEOUT"),
        ("secret", setup().argument("--cognigy-webhook-secret="), "COGNIGY_WEBHOOK_SECRET"),
        ("a flag that does not exist", setup().argument("--retry-max-attemps=3"), "RETRY_MAX_ATTEMPS"),
        ("a flag without its value", setup().argument("--proxy-deadline"), "PROXY_DEADLINE"),
    ])
    .await;
}

#[tokio::test]
async fn what_the_machine_refuses_is_one_line_too() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let setup = || Setup::new("http://127.0.0.1:9");
    let nowhere = setup();
    let nowhere =
        nowhere.clone().set("QUEUE_URL", format!("sqlite://{}", nowhere.path("no/such/dir/queue.db").display()));
    let directory = setup();
    let directory = directory.clone().set("QUEUE_URL", format!("sqlite://{}", directory.path("").display()));
    let garbage = setup();
    std::fs::write(garbage.path("queue.db"), "this is no database, and nobody should write over it".repeat(50))
        .unwrap();
    all_refused(vec![
        ("a busy port", setup().set("LISTEN_ADDR", &address), "LISTEN_ADDR"),
        ("a database in no directory", nowhere, "QUEUE_URL"),
        ("a database that is a directory", directory, "QUEUE_URL"),
        ("a file that is no database", garbage, "QUEUE_URL"),
    ])
    .await;
}

#[tokio::test]
async fn a_refused_start_does_not_say_the_secret() {
    let setup =
        Setup::new("http://127.0.0.1:9").set("RETRY_MAX_ATTEMPTS", "0").set("DOWNSTREAM_BEARER_TOKEN", "t0ken\u{1}");
    let (_, _, stderr) = setup.clone().set("QUEUE_URL", "rediss://:pa55@127.0.0.1").run().await;
    assert!(!stderr.contains("pa55") && folded(&stderr).contains("QUEUE_URL"), "{stderr}");
    let (_, stdout, _) = setup.clone().set("QUEUE_URL", "redis://:pa55@127.0.0.1").argument("--help").run().await;
    assert!(!stdout.contains("pa55"), "{stdout}");
    let (_, _, stderr) = setup.run().await;
    assert!(!stderr.contains("t0ken") && !stderr.contains(crate::support::SECRET), "{stderr}");
    let (_, _, stderr) = setup.set("RETRY_MAX_ATTEMPTS", "3").run().await;
    assert!(!stderr.contains("t0ken") && folded(&stderr).contains("DOWNSTREAM_BEARER_TOKEN"), "{stderr}");
}

#[tokio::test]
async fn secrets_can_be_in_files() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup = Setup::bare().set("DOWNSTREAM_URL", downstream.url());
    let queue = format!("sqlite://{}", setup.path("elsewhere.db").display());
    let secrets = [
        ("COGNIGY_WEBHOOK_SECRET", crate::support::SECRET),
        ("COGNIGY_WEBHOOK_SECRET_PREVIOUS", "the one before"),
        ("DOWNSTREAM_BEARER_TOKEN", "t0ken"),
        ("QUEUE_URL", &queue),
        ("COGNIGY_INJECT_URL", &format!("{}/inject?key=k", downstream.url())),
    ];
    let setup = secrets.iter().fold(setup, |setup, (name, secret)| {
        let file = setup.path(name);
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        setup.set(&format!("{name}_FILE"), file.to_str().unwrap())
    });
    let gateway = setup.start().await;
    assert_eq!(gateway.stdout(), format!("listening on http://{}\n", gateway.address));
    assert_eq!(gateway.job().await.0, 200);
    let previous = Request::proxied("{}").header("X-API-Key", "the one before");
    assert_eq!(gateway.send(previous).await.status(), 200);
    assert!(setup.path("elsewhere.db").is_file());
    assert_eq!(downstream.received()[0].header("authorization"), Some("Bearer t0ken"));
    eventually("the injection", async || {
        downstream.received().iter().any(|request| request.path == "/inject?key=k").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_file_that_holds_no_secret_is_refused() {
    let cases = [
        ("COGNIGY_WEBHOOK_SECRET_FILE", ""),
        ("COGNIGY_WEBHOOK_SECRET_PREVIOUS_FILE", "\n"),
        ("DOWNSTREAM_BEARER_TOKEN_FILE", ""),
        ("OAUTH_CLIENT_SECRET_FILE", ""),
        ("QUEUE_URL_FILE", "postgres://:s3cret@host\n"),
        ("COGNIGY_INJECT_URL_FILE", "s3cret"),
    ];
    let bare = || Setup::bare().set("DOWNSTREAM_URL", "http://127.0.0.1:9");
    let mut refused = Vec::new();
    for (name, content) in cases {
        let setup = bare();
        let file = setup.path("secret");
        std::fs::write(&file, content).unwrap();
        refused.push(("what is in it", setup.set(name, file.to_str().unwrap()), name));
        refused.push(("no such file", bare().set(name, "/no/such/file"), name));
        refused.push(("no name", bare().set(name, ""), name));
        let both = bare();
        let file = both.path("secret");
        std::fs::write(&file, "good").unwrap();
        let plain = name.trim_end_matches("_FILE");
        let value = if plain == "QUEUE_URL" { "sqlite::memory:" } else { "http://127.0.0.1:9/good" };
        refused.push(("both", both.set(name, file.to_str().unwrap()).set(plain, value), name));
    }
    for (what, setup, name) in &refused {
        let (.., stderr) = setup.run().await;
        assert!(!stderr.contains("s3cret"), "{what} {name}: {stderr}");
    }
    all_refused(refused).await;
}

#[tokio::test]
async fn a_flag_wins_over_its_variable() {
    let downstream = Downstream::start(Answer::status(503)).await;
    let setup = Setup::new(downstream.url()).set("RETRY_MAX_ATTEMPTS", "3").argument("--retry-max-attempts=1");
    let gateway = setup.argument("--listen-addr").argument("127.0.0.1:0").start().await;
    gateway.call().await;
    assert_eq!(downstream.calls(), 1);
}

#[tokio::test]
async fn rules_that_are_off_and_limits_of_any_size_are_accepted() {
    let settings = [
        ("BREAKER_CONSECUTIVE_FAILURES", "0"),
        ("BREAKER_FAILURES", "0"),
        ("BREAKER_MEAN_LATENCY", "0s"),
        ("HEALTH_PROBE_INTERVAL", "0s"),
        ("RETRY_BASE_DELAY", "1m30s"),
        ("RETRY_MAX_DELAY", "10ms"),
        ("RETRY_JITTER", "0s"),
        ("BREAKER_ERROR_RATE", "1"),
        ("BREAKER_PROBES", "5"),
        ("BREAKER_PROBE_SUCCESSES", "5"),
        ("JOB_CIRCUIT_WAIT", "0s"),
        ("LOG_FORMAT", "json"),
        ("QUEUE_CONCURRENCY", "1"),
        ("JOB_TIMEOUT", "1h"),
    ];
    let (_downstream, gateway) = start_with(Answer::ok(), &settings).await;
    assert_eq!(gateway.call().await, 200);
    assert_eq!(gateway.job().await.1["nextNode"], "continue_dialog");
}

#[tokio::test]
async fn the_help_lists_every_setting_with_its_default() {
    let (code, stdout, stderr) = Setup::bare().argument("--help").run().await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let settings = [
        ("LISTEN_ADDR", "127.0.0.1:8000"),
        ("COGNIGY_WEBHOOK_SECRET", ""),
        ("COGNIGY_WEBHOOK_SECRET_PREVIOUS", ""),
        ("MAX_BODY_BYTES", "1048576"),
        ("BODY_TIMEOUT", "10s"),
        ("HEADER_TIMEOUT", "10s"),
        ("DOWNSTREAM_URL", ""),
        ("DOWNSTREAM_TIMEOUT", "10s"),
        ("DOWNSTREAM_MAX_BYTES", "1048576"),
        ("DOWNSTREAM_CA_FILE", ""),
        ("DOWNSTREAM_BEARER_TOKEN", ""),
        ("OAUTH_TOKEN_URL", ""),
        ("OAUTH_CLIENT_ID", ""),
        ("OAUTH_CLIENT_SECRET", ""),
        ("OAUTH_SCOPE", "api:customer:read"),
        ("QUEUE_URL", "sqlite://cognigy_gateway.db"),
        ("QUEUE_CONCURRENCY", "64"),
        ("JOB_CIRCUIT_WAIT", "0s"),
        ("RESULT_TTL", "24h"),
        ("SHUTDOWN_TIMEOUT", "25s"),
        ("JOB_TIMEOUT", "60s"),
        ("JOB_MAX_RUNS", "5"),
        ("PROXY_DEADLINE", "7s"),
        ("RETRY_MAX_ATTEMPTS", "3"),
        ("RETRY_BASE_DELAY", "2s"),
        ("RETRY_MAX_DELAY", "30s"),
        ("RETRY_JITTER", "1s"),
        ("RETRY_AFTER_MAX", "30s"),
        ("BREAKER_CONSECUTIVE_FAILURES", "5"),
        ("BREAKER_FAILURES", "0"),
        ("BREAKER_ERROR_RATE", "0.5"),
        ("BREAKER_MIN_CALLS", "10"),
        ("BREAKER_SLOW_CALL", "1500ms"),
        ("BREAKER_SLOW_RATE", "0.5"),
        ("BREAKER_MEAN_LATENCY", "0s"),
        ("BREAKER_WINDOW", "60s"),
        ("BREAKER_OPEN_FOR", "15s"),
        ("BREAKER_PROBES", "3"),
        ("BREAKER_PROBE_SUCCESSES", ""),
        ("BREAKER_HALF_OPEN_TIMEOUT", "30s"),
        ("HEALTH_PROBE_INTERVAL", "10s"),
        ("FALLBACK_NODE", "default_fallback_branch"),
        ("SUCCESS_NODE", "continue_dialog"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ("OTEL_SERVICE_NAME", "cognigy-gateway"),
        ("DASHBOARD", "on"),
        ("COGNIGY_INJECT_URL", ""),
        ("LOG_FORMAT", "text"),
        ("RUST_LOG", "info"),
        ("COGNIGY_WEBHOOK_SECRET_FILE", ""),
        ("COGNIGY_WEBHOOK_SECRET_PREVIOUS_FILE", ""),
        ("DOWNSTREAM_BEARER_TOKEN_FILE", ""),
        ("OAUTH_CLIENT_SECRET_FILE", ""),
        ("QUEUE_URL_FILE", ""),
        ("COGNIGY_INJECT_URL_FILE", ""),
    ];
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(flat(&stdout).matches("[env: ").count(), settings.len(), "{stdout}");
    for (name, default) in settings {
        let flag = format!("--{} ", name.to_lowercase().replace('_', "-"));
        let (_, entry) = stdout.split_once(&flag).unwrap_or_else(|| panic!("{flag} is missing in\n{stdout}"));
        let entry = flat(entry.split("\n      --").next().unwrap_or_default());
        // What is set is shown after the name, unless it may be a secret.
        let names = |end| entry.contains(&format!("[env: {name}{end}"));
        assert!(names('=') || names(']'), "{name}: {entry}");
        assert!(default.is_empty() || entry.contains(&format!("default: {default}]")), "{name}: {entry}");
    }
}

#[tokio::test]
async fn a_rate_that_is_too_small_to_be_counted_is_refused_by_its_name() {
    let setup = || Setup::new("http://127.0.0.1:9");
    all_refused(vec![
        ("errors", setup().set("BREAKER_ERROR_RATE", "0.0000000001"), "BREAKER_ERROR_RATE"),
        ("slow calls", setup().set("BREAKER_SLOW_RATE", "0.0000000001"), "BREAKER_SLOW_RATE"),
    ])
    .await;
    let gateway =
        setup().set("BREAKER_ERROR_RATE", "0.000000001").set("BREAKER_SLOW_RATE", "0.000000001").start().await;
    assert_eq!(gateway.get("/health").await.status(), 200);
}

#[tokio::test]
async fn a_secret_that_can_be_guessed_is_warned_of() {
    let weak = "shorter than 16 bytes";
    let setup = || Setup::new("http://127.0.0.1:9");
    let gateway = setup().set("COGNIGY_WEBHOOK_SECRET", "too-short").start().await;
    eventually("the warning", async || gateway.stderr().contains(weak).then_some(())).await;
    let gateway = setup().set("COGNIGY_WEBHOOK_SECRET_PREVIOUS", "too-short").start().await;
    eventually("the warning of the other", async || gateway.stderr().contains(weak).then_some(())).await;
    assert!(!gateway.stderr().contains("too-short"), "{}", gateway.stderr());
    let mut gateway = setup().start().await;
    gateway.signal("TERM").await;
    gateway.exit(crate::support::PATIENCE).await;
    assert!(!gateway.stderr().contains(weak), "{}", gateway.stderr());
}

#[tokio::test]
async fn a_limit_of_slow_calls_that_no_call_can_reach_is_warned_of() {
    let told = "no call can be slow";
    let setup = || Setup::new("http://127.0.0.1:9").set("DOWNSTREAM_TIMEOUT", "1s");
    let gateway = setup().set("BREAKER_SLOW_CALL", "1001ms").start().await;
    eventually("the warning", async || gateway.stderr().contains(told).then_some(())).await;
    assert!(gateway.stderr().contains("BREAKER_SLOW_CALL"), "{}", gateway.stderr());
    let mut gateway = setup().set("BREAKER_SLOW_CALL", "1s").start().await;
    gateway.signal("TERM").await;
    gateway.exit(crate::support::PATIENCE).await;
    assert!(!gateway.stderr().contains(told), "{}", gateway.stderr());
}
