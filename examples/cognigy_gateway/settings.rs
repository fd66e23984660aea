//! Settings: each is a flag and an environment variable, and a bad one ends the start with one line that names it.

use std::{env, error::Error as _, ffi::OsStr, fmt, num::NonZeroUsize, path::PathBuf, str::FromStr, time::Duration};

use clap::{
    Arg, CommandFactory, FromArgMatches, Parser, ValueEnum, builder::ValueParser, error::ContextKind,
    error::ContextValue, error::ErrorKind, value_parser,
};
use http::Uri;
use tracing_subscriber::EnvFilter;

use crate::{
    duration::{parse as span, positive},
    queue::QueueUrl,
    secret_files::{self, SecretFiles},
};

/// A gateway between NICE Cognigy's webhooks and a REST API that may be slow, rate limited or down.
#[derive(Debug, Parser)]
#[command(name = "cognigy_gateway", max_term_width = 120)]
pub(crate) struct Settings {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env, default_value = "127.0.0.1:8000")]
    pub(crate) listen_addr: String,
    /// Shared secret of both webhook styles [default: generated, for development]
    #[arg(long, env, hide_env_values = true)]
    pub(crate) cognigy_webhook_secret: Option<Hidden>,
    /// Second secret that is accepted too, while the first is being rotated
    #[arg(long, env, hide_env_values = true)]
    pub(crate) cognigy_webhook_secret_previous: Option<Hidden>,
    /// Larger webhook bodies are refused
    #[arg(long, env, default_value = "1048576")]
    pub(crate) max_body_bytes: NonZeroUsize,
    /// How long a webhook's body may take to arrive
    #[arg(long, env, default_value = "10s", value_parser = positive)]
    pub(crate) body_timeout: Duration,
    /// How long a request's head may take to arrive, the first of a connection and later ones
    #[arg(long, env, default_value = "10s", value_parser = positive)]
    pub(crate) header_timeout: Duration,

    /// Base URL of the downstream API [default: a simulated one]
    #[arg(long, env)]
    pub(crate) downstream_url: Option<BaseUrl>,
    /// Limit of one attempt, its body included
    #[arg(long, env, default_value = "10s", value_parser = positive)]
    pub(crate) downstream_timeout: Duration,
    /// A longer answer from the downstream is an invalid one
    #[arg(long, env, default_value = "1048576")]
    pub(crate) downstream_max_bytes: NonZeroUsize,
    /// PEM file of the roots that TLS to the downstream trusts [default: the system's]
    #[arg(long, env)]
    pub(crate) downstream_ca_file: Option<PathBuf>,
    /// Fixed bearer token for the downstream
    #[arg(long, env, hide_env_values = true)]
    pub(crate) downstream_bearer_token: Option<Hidden>,
    /// Where OAuth 2.0 client credentials get a token, in place of the fixed one
    #[arg(long, env)]
    pub(crate) oauth_token_url: Option<TokenUrl>,
    /// Id of the OAuth client
    #[arg(long, env)]
    pub(crate) oauth_client_id: Option<String>,
    /// Secret of the OAuth client
    #[arg(long, env, hide_env_values = true)]
    pub(crate) oauth_client_secret: Option<Hidden>,
    /// Scope of the token [default: api:customer:read]
    #[arg(long, env)]
    pub(crate) oauth_scope: Option<String>,

    /// Where jobs and results live: sqlite://FILE, sqlite::memory: or redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]
    #[arg(long, env, hide_env_values = true, default_value = "sqlite://cognigy_gateway.db")]
    pub(crate) queue_url: QueueUrl,
    /// Jobs that this gateway runs at once; with COGNIGY_INJECT_URL as many injections beside them
    #[arg(long, env, default_value = "64", value_parser = at_least_one())]
    pub(crate) queue_concurrency: u32,
    /// How long a job that the circuit rejects may wait, back in the queue, before it falls back
    #[arg(long, env, default_value = "0s", value_parser = span)]
    pub(crate) job_circuit_wait: Duration,
    /// Finished jobs and their results are kept so long
    #[arg(long, env, default_value = "24h", value_parser = positive)]
    pub(crate) result_ttl: Duration,
    /// How long running work may take to finish after SIGTERM
    #[arg(long, env, default_value = "25s", value_parser = span)]
    pub(crate) shutdown_timeout: Duration,
    /// Limit of one run of a job with all its attempts
    #[arg(long, env, default_value = "60s", value_parser = positive)]
    pub(crate) job_timeout: Duration,
    /// A job whose gateway died that often while it ran ends with the fallback
    #[arg(long, env, default_value = "5", value_parser = at_least_one())]
    pub(crate) job_max_runs: u32,
    /// Limit of one proxied call with all its attempts and waits
    #[arg(long, env, default_value = "7s", value_parser = positive)]
    pub(crate) proxy_deadline: Duration,

    /// Attempts in all, the first included
    #[arg(long, env, default_value = "3", value_parser = at_least_one())]
    pub(crate) retry_max_attempts: u32,
    /// Wait before the second attempt, doubled for each one after it
    #[arg(long, env, default_value = "2s", value_parser = span)]
    pub(crate) retry_base_delay: Duration,
    /// Longest wait between attempts
    #[arg(long, env, default_value = "30s", value_parser = span)]
    pub(crate) retry_max_delay: Duration,
    /// A random part of up to this is added to each wait, within the longest
    #[arg(long, env, default_value = "1s", value_parser = span)]
    pub(crate) retry_jitter: Duration,
    /// A longer Retry-After is not waited out
    #[arg(long, env, default_value = "30s", value_parser = span)]
    pub(crate) retry_after_max: Duration,

    /// The circuit opens after this many failures in a row; 0 turns the rule off
    #[arg(long, env, default_value = "5")]
    pub(crate) breaker_consecutive_failures: u32,
    /// The circuit opens after this many failures in the window; 0 turns the rule off
    #[arg(long, env, default_value = "0")]
    pub(crate) breaker_failures: u32,
    /// The circuit opens when this share of the window's calls failed
    #[arg(long, env, default_value = "0.5", value_parser = rate)]
    pub(crate) breaker_error_rate: f64,
    /// Rates count from this many calls in the window
    #[arg(long, env, default_value = "10", value_parser = at_least_one())]
    pub(crate) breaker_min_calls: u32,
    /// A call that takes longer counts as slow
    #[arg(long, env, default_value = "1500ms", value_parser = positive)]
    pub(crate) breaker_slow_call: Duration,
    /// The circuit opens when this share of the window's calls was slow
    #[arg(long, env, default_value = "0.5", value_parser = rate)]
    pub(crate) breaker_slow_rate: f64,
    /// The circuit opens when the window's mean latency is longer; 0s turns the rule off
    #[arg(long, env, default_value = "0s", value_parser = span)]
    pub(crate) breaker_mean_latency: Duration,
    /// Length of the sliding window
    #[arg(long, env, default_value = "60s", value_parser = positive)]
    pub(crate) breaker_window: Duration,
    /// Time open before probes are let through
    #[arg(long, env, default_value = "15s", value_parser = positive)]
    pub(crate) breaker_open_for: Duration,
    /// Calls that one half-open period lets through
    #[arg(long, env, default_value = "3", value_parser = at_least_one())]
    pub(crate) breaker_probes: u32,
    /// Successes among them that close the circuit [default: all of them]
    #[arg(long, env, value_parser = at_least_one())]
    pub(crate) breaker_probe_successes: Option<u32>,
    /// Without a verdict by then a half-open circuit opens again
    #[arg(long, env, default_value = "30s", value_parser = positive)]
    pub(crate) breaker_half_open_timeout: Duration,
    /// How often /v2/health is asked while the circuit is not closed; 0s turns it off
    #[arg(long, env, default_value = "10s", value_parser = span)]
    pub(crate) health_probe_interval: Duration,

    /// Dialog node that a fallback names to Cognigy
    #[arg(long, env, default_value = "default_fallback_branch")]
    pub(crate) fallback_node: String,
    /// Dialog node that a success names to Cognigy
    #[arg(long, env, default_value = "continue_dialog")]
    pub(crate) success_node: String,
    /// Whether there is a page at / that shows the circuit, the queue and the last calls
    #[arg(long, env, default_value = "on")]
    pub(crate) dashboard: Switch,
    /// Where the results of queued jobs are posted too, as Cognigy's inject API takes them
    #[arg(long, env, hide_env_values = true, value_parser = endpoint)]
    pub(crate) cognigy_inject_url: Option<Uri>,
    /// Where spans go: the base URL of a collector that takes OTLP over HTTP [default: nowhere]
    #[arg(long, env, hide_env_values = true, value_parser = collector)]
    pub(crate) otel_exporter_otlp_endpoint: Option<String>,
    /// The service that spans are of [default: cognigy-gateway]
    #[arg(long, env)]
    pub(crate) otel_service_name: Option<String>,
    /// How logs are written
    #[arg(long, env, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Log filter; logs go to stderr
    #[arg(long, env, default_value = "info", value_parser = log_filter)]
    pub(crate) rust_log: String,

    #[command(flatten)]
    pub(crate) secret_files: SecretFiles,
}

/// What ended the reading of settings.
#[derive(Debug)]
pub(crate) enum Stop {
    /// `--help` was asked for: this text.
    Help(String),
    /// One line that names a bad setting.
    Invalid(String),
}

impl Settings {
    /// Reads the command line and the environment.
    pub(crate) fn read() -> Result<Self, Stop> {
        // A value may begin with a hyphen, so that `--body-timeout -1s` is a bad duration and not an unknown flag.
        let command = Self::command().mut_args(|arg| arg.allow_hyphen_values(true));
        // clap would not say which one it is.
        let text = |name: &&OsStr| env::var_os(name).is_none_or(|value| value.to_str().is_some());
        if let Some(name) = command.get_arguments().filter_map(Arg::get_env).find(|name| !text(name)) {
            return Err(Stop::Invalid(format!("{}: is not UTF-8", name.display())));
        }
        let stop = |error: clap::Error| match error.kind() {
            ErrorKind::DisplayHelp => Stop::Help(error.render().to_string()),
            _ => Stop::Invalid(one_line(&error)),
        };
        let matches = command.try_get_matches().map_err(stop)?;
        let mut settings = Self::from_arg_matches(&matches).map_err(stop)?;
        secret_files::read(&mut settings, &matches).map_err(Stop::Invalid)?;
        settings.check().map_err(Stop::Invalid)?;
        Ok(settings)
    }

    /// What no single value shows.
    fn check(&self) -> Result<(), String> {
        let secrets = [
            ("COGNIGY_WEBHOOK_SECRET", &self.cognigy_webhook_secret),
            ("COGNIGY_WEBHOOK_SECRET_PREVIOUS", &self.cognigy_webhook_secret_previous),
            ("DOWNSTREAM_BEARER_TOKEN", &self.downstream_bearer_token),
        ];
        if let Some((name, _)) =
            secrets.iter().find(|(_, secret)| secret.as_ref().is_some_and(|s| s.expose().is_empty()))
        {
            return Err(format!("{name}: is set, but empty"));
        }
        if self.downstream_bearer_token.as_ref().is_some_and(|token| token.bearer().is_none()) {
            return Err("DOWNSTREAM_BEARER_TOKEN: holds what no HTTP header can".into());
        }
        if self.downstream_ca_file.is_some() && !self.downstream_url.as_ref().is_some_and(BaseUrl::is_https) {
            return Err("DOWNSTREAM_CA_FILE: makes no sense unless DOWNSTREAM_URL begins with https://".into());
        }
        self.check_oauth()?;
        if self.probe_successes() > self.breaker_probes {
            return Err("BREAKER_PROBE_SUCCESSES: more than BREAKER_PROBES can never be reached".into());
        }
        Ok(())
    }

    /// All of the client or nothing of it.
    fn check_oauth(&self) -> Result<(), String> {
        let secret = self.oauth_client_secret.as_ref().map(Hidden::expose);
        let settings = [
            ("OAUTH_TOKEN_URL", self.oauth_token_url.as_ref().map(|_| "a URL"), true),
            ("OAUTH_CLIENT_ID", self.oauth_client_id.as_deref(), true),
            ("OAUTH_CLIENT_SECRET", secret, true),
            ("OAUTH_SCOPE", self.oauth_scope.as_deref(), false),
        ];
        if let Some((name, ..)) = settings.iter().find(|(_, value, _)| value.is_some_and(str::is_empty)) {
            return Err(format!("{name}: is set, but empty"));
        }
        let given = settings.iter().find(|(_, value, _)| value.is_some());
        let missing = settings.iter().find(|(_, value, needed)| *needed && value.is_none());
        match (given, missing) {
            (Some((given, ..)), Some((missing, ..))) => Err(format!("{missing}: is needed, since {given} is set")),
            _ => Ok(()),
        }
    }

    /// The OAuth client: where it gets tokens, its id and its secret.
    pub(crate) fn oauth_client(&self) -> Option<(&TokenUrl, &str, &Hidden)> {
        Some((self.oauth_token_url.as_ref()?, self.oauth_client_id.as_deref()?, self.oauth_client_secret.as_ref()?))
    }

    pub(crate) fn oauth_scope(&self) -> &str {
        self.oauth_scope.as_deref().unwrap_or("api:customer:read")
    }

    /// Where spans are posted, if anywhere.
    pub(crate) fn collector(&self) -> Option<String> {
        let base = self.otel_exporter_otlp_endpoint.as_deref().filter(|base| !base.is_empty())?;
        Some(format!("{}/v1/traces", base.trim_end_matches('/')))
    }

    pub(crate) fn service_name(&self) -> &str {
        self.otel_service_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("cognigy-gateway")
    }

    /// What is no error, and yet hardly what somebody wants.
    pub(crate) fn warn(&self) {
        if self.breaker_slow_call > self.downstream_timeout {
            tracing::warn!(
                "BREAKER_SLOW_CALL is longer than DOWNSTREAM_TIMEOUT, which cuts each call before: no call can be slow"
            );
        }
    }

    /// Successes that close a half-open circuit.
    pub(crate) fn probe_successes(&self) -> u32 {
        self.breaker_probe_successes.unwrap_or(self.breaker_probes)
    }
}

/// The first paragraph of what clap has to say, on one line, beginning with the setting where there is one.
fn one_line(error: &clap::Error) -> String {
    if let (Some(ContextValue::String(arg)), Some(why)) = (error.get(ContextKind::InvalidArg), error.source()) {
        // `--listen-addr <LISTEN_ADDR>`
        let name = arg.split(['<', '>']).nth(1).unwrap_or(arg);
        return format!("{name}: {why}");
    }
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn at_least_one() -> ValueParser {
    value_parser!(u32).range(1..).into()
}

/// Reads a rate, down to the least that the circuit counts.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (1e-9..=1.0).contains(&rate) => Ok(rate),
        _ => Err("a rate is at least 0.000000001 and at most 1".into()),
    }
}

/// Reads an absolute URL, which may hold a token: an error does not repeat it.
pub(crate) fn endpoint(text: &str) -> Result<Uri, String> {
    let bad = "must be a URL that begins with http:// or https://, without credentials before its host";
    http_url(text, bad, bad)
}

/// Reads an `http` or `https` URL with a host and no credentials before it, or says what it is not.
fn http_url(text: &str, not_http: &str, with_credentials: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("no URL: {error}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => Err(with_credentials.into()),
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(not_http.into()),
    }
}

/// Reads the base URL of a collector; the specification takes an empty one as none.
fn collector(text: &str) -> Result<String, String> {
    match endpoint(text) {
        Ok(uri) if uri.query().is_some() => Err("a base URL has no query".into()),
        Err(error) if !text.is_empty() => Err(error),
        _ => Ok(text.to_owned()),
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string().replace('\n', " "))
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// A secret or a token: nothing prints it.
#[derive(Clone)]
pub(crate) struct Hidden(String);

impl Hidden {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The value of an `Authorization` header, if it can be one.
    pub(crate) fn bearer(&self) -> Option<http::HeaderValue> {
        let mut value = http::HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// An `http` or `https` URL that paths are appended to.
#[derive(Clone, Debug)]
pub(crate) struct BaseUrl(String);

impl BaseUrl {
    fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// The URL of `path`, which begins with a slash and holds nothing that has to be escaped.
    pub(crate) fn join(&self, path: &str) -> Uri {
        format!("{}{path}", self.0).parse().expect("a base URL and a plain path make a URL")
    }
}

impl FromStr for BaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri = http_url(
            text,
            "a base URL begins with http:// or https://",
            "credentials belong into DOWNSTREAM_BEARER_TOKEN, not into the URL",
        )?;
        if uri.query().is_some() {
            return Err("a base URL has no query".into());
        }
        // There is no fragment: http's type drops it.
        Ok(Self(uri.to_string().trim_end_matches('/').to_owned()))
    }
}

/// The `http` or `https` URL of a token server, with its path and its query.
#[derive(Clone, Debug)]
pub(crate) struct TokenUrl(Uri);

impl TokenUrl {
    pub(crate) fn uri(&self) -> Uri {
        self.0.clone()
    }
}

impl FromStr for TokenUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        http_url(
            text,
            "the URL of a token server begins with http:// or https://",
            "credentials belong into OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET, not into the URL",
        )
        .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Settings::command().debug_assert();
    }

    #[test]
    fn a_base_url_keeps_its_path() {
        let join = |base: &str| base.parse::<BaseUrl>().unwrap().join("/v2/health").to_string();
        assert_eq!(join("http://api.example"), "http://api.example/v2/health");
        assert_eq!(join("https://api.example:8443/crm/"), "https://api.example:8443/crm/v2/health");
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for text in
            ["", "api.example", "/path", "ftp://api.example", "http://", "http://user:pw@api.example", "http://a/?q=1"]
        {
            assert!(text.parse::<BaseUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_above_zero_and_at_most_one() {
        assert_eq!(rate("1"), Ok(1.0));
        assert_eq!(rate("0.000000001"), Ok(1e-9));
        for text in ["0", "0.0000000009", "1.01", "-0.5", "NaN", "inf", "half", ""] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
