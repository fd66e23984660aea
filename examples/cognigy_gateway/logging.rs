//! Logs go to stderr, as text or as JSON.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, Settings};

/// The target of what an operator has to be told, whatever the filter says.
pub(crate) const NOTICE: &str = "cognigy_gateway::notice";

pub(crate) fn init(settings: &Settings) -> Result<(), String> {
    let always = format!("{NOTICE}=info").parse().map_err(|error| format!("{error}"))?;
    let filter = EnvFilter::try_new(&settings.rust_log).map_err(|error| error.to_string())?.add_directive(always);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        // A log that nobody reads any more must not stop the gateway.
        .log_internal_errors(false);
    match settings.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|error| error.to_string())
}
