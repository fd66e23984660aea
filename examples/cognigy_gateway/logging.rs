//! Logs on stderr, as text or as JSON, and spans for whoever exports them.

use std::io::{IsTerminal, stderr};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, filter::Targets, fmt, layer::SubscriberExt, registry, registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    settings::{LogFormat, Settings},
    telemetry::SPANS,
};

/// The target of what an operator has to be told, whatever the filter says.
pub(crate) const NOTICE: &str = "cognigy_gateway::notice";

/// What is logged and what is exported are independent of each other: the filter is the log's.
pub(crate) fn init(settings: &Settings, spans: Option<&SdkTracerProvider>) -> Result<(), String> {
    if spans.is_none()
        && let Ok(targets) = settings.rust_log.parse::<Targets>()
    {
        let targets = targets.with_target(NOTICE, Level::INFO);
        return registry().with(targets).with(log(settings)).try_init().map_err(|error| error.to_string());
    }
    let always = format!("{NOTICE}=info").parse().map_err(|error| format!("{error}"))?;
    let filter = EnvFilter::try_new(&settings.rust_log).map_err(|error| error.to_string())?.add_directive(always);
    let Some(provider) = spans else {
        // One filter for all costs less than one for each layer.
        return registry().with(filter).with(log(settings)).try_init().map_err(|error| error.to_string());
    };
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("cognigy_gateway"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_target(SPANS, Level::INFO));
    registry().with(log(settings).with_filter(filter)).with(spans).try_init().map_err(|error| error.to_string())
}

fn log<S>(settings: &Settings) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let log = fmt::layer()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        // A log that nobody reads any more must not stop the gateway.
        .log_internal_errors(false);
    match settings.log_format {
        LogFormat::Text => log.boxed(),
        LogFormat::Json => log.json().boxed(),
    }
}
