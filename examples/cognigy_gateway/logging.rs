//! Logs on stderr, as text or as JSON, and spans for whoever exports them.

use std::io::{IsTerminal, stderr};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Subscriber, enabled, subscriber::with_default};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::Targets,
    fmt::{self, format::FmtSpan},
    layer::SubscriberExt,
    registry,
    registry::LookupSpan,
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
    let Some(provider) = spans else {
        let ends = if shows_spans(&settings.rust_log)? { FmtSpan::CLOSE } else { FmtSpan::NONE };
        // One filter for all costs less than one for each layer, and one of targets alone less than one that knows spans.
        return match targets(&settings.rust_log) {
            Some(targets) => registry().with(targets).with(log(settings, ends)).try_init(),
            None => registry().with(filter(&settings.rust_log)?).with(log(settings, ends)).try_init(),
        }
        .map_err(|error| error.to_string());
    };
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("cognigy_gateway"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_target(SPANS, Level::INFO));
    let filter = filter(&settings.rust_log)?;
    let log = log(settings, FmtSpan::NONE).with_filter(filter);
    registry().with(log).with(spans).try_init().map_err(|error| error.to_string())
}

fn filter(directives: &str) -> Result<EnvFilter, String> {
    let always = format!("{NOTICE}=info").parse().map_err(|error| format!("{error}"))?;
    Ok(EnvFilter::try_new(directives).map_err(|error| error.to_string())?.add_directive(always))
}

/// The same filter, where it asks for nothing but targets and levels.
fn targets(directives: &str) -> Option<Targets> {
    let is_plain = !directives.contains('[') && directives.split(',').all(|directive| !directive.is_empty());
    let targets: Option<Targets> = directives.parse().ok().filter(|_| is_plain);
    targets.map(|targets| targets.with_target(NOTICE, Level::INFO))
}

/// Whether the filter asks for spans themselves: at the usual `info` they only surround what is logged in them.
fn shows_spans(directives: &str) -> Result<bool, String> {
    Ok(with_default(registry().with(filter(directives)?), || enabled!(target: SPANS, Level::DEBUG)))
}

/// Events, and of spans what `ends` says.
fn log<S>(settings: &Settings, ends: FmtSpan) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let log = fmt::layer()
        .with_writer(stderr)
        .with_span_events(ends)
        .with_ansi(stderr().is_terminal())
        // A log that nobody reads any more must not stop the gateway.
        .log_internal_errors(false);
    match settings.log_format {
        LogFormat::Text => log.boxed(),
        LogFormat::Json => log.json().boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(subscriber: impl Subscriber + Send + Sync) -> [bool; 8] {
        with_default(subscriber, || {
            [
                enabled!(target: "hyper", Level::WARN),
                enabled!(target: "hyper::client", Level::DEBUG),
                enabled!(target: "cognigy_gateway", Level::INFO),
                enabled!(target: "cognigy_gateway", Level::TRACE),
                enabled!(target: NOTICE, Level::INFO),
                enabled!(target: NOTICE, Level::TRACE),
                enabled!(target: "portcullis::retry", Level::ERROR),
                enabled!(target: "portcullis::retry", Level::INFO),
            ]
        })
    }

    #[test]
    fn spans_are_shown_where_the_filter_lets_more_of_them_through_than_is_usual() {
        let shown = |directives| shows_spans(directives).unwrap();
        for directives in ["debug", "trace", "info,cognigy_gateway=debug", "off,cognigy_gateway::trace=trace"] {
            assert!(shown(directives), "{directives}");
        }
        for directives in ["info", "off", "", "info,hyper=trace", "debug,cognigy_gateway=info", "info,[job]=info"] {
            assert!(!shown(directives), "{directives}");
        }
    }

    #[test]
    fn a_filter_of_targets_lets_through_what_the_filter_of_everything_does() {
        for directives in
            ["info", "WARN,hyper=debug", "off", "error,cognigy_gateway::notice=trace", "hyper", "portcullis=off,info"]
        {
            let plain = seen(registry().with(targets(directives).unwrap()));
            assert_eq!(plain, seen(registry().with(filter(directives).unwrap())), "{directives}");
            assert!(plain[4], "{directives}: what an operator has to be told");
        }
        for other in ["", "info,", "[job]=debug", "info,cognigy_gateway[job{run=1}]=trace"] {
            assert!(targets(other).is_none(), "{other}");
        }
    }
}
