//! Settings: each is a flag and an environment variable, and a bad one ends the start with one line that names it.

mod check;
mod duration;
mod files;
mod urls;
mod values;

use std::{env, error::Error as _, ffi::OsStr, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Arg, CommandFactory, FromArgMatches, Parser, error::ContextKind, error::ContextValue, error::ErrorKind};
use http::Uri;

use self::{
    duration::{parse as span, positive},
    files::SecretFiles,
    urls::{collector, endpoint},
    values::{at_least_one, log_filter, rate},
};
pub(crate) use self::{
    urls::{BaseUrl, TokenUrl},
    values::{Hidden, LogFormat, Switch},
};
use crate::queue::QueueUrl;

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
    secret_files: SecretFiles,
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
        files::read(&mut settings, &matches).map_err(Stop::Invalid)?;
        settings.check().map_err(Stop::Invalid)?;
        Ok(settings)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Settings::command().debug_assert();
    }
}
