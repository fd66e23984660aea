//! The trace that a webhook belongs to: W3C's `traceparent` and `tracestate`, the only headers that go on.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::telemetry::are_exported;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// Where a trace stands: the span that what follows belongs under. Empty where there is none yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceContext {
    pub(crate) parent: Option<String>,
    pub(crate) state: Option<String>,
}

impl TraceContext {
    /// What a request carries. A `traceparent` that is repeated or not as it has to be is none, and the lines of a
    /// `tracestate` are one list.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let lines = |name| headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect::<Vec<_>>();
        let [parent] = lines(PARENT)[..] else { return Self::default() };
        let Some([trace, span, flags]) = ids(parent) else { return Self::default() };
        Self {
            parent: Some(format!("00-{trace}-{span}-{flags}")),
            state: Some(lines(STATE).join(",")).filter(|state| !state.is_empty()),
        }
    }

    /// Where the trace of a request stands in its handler, within a span that was put under what the request carries.
    pub(crate) fn here(headers: &HeaderMap) -> Self {
        if are_exported()
            && let Some(here) = Self::within(&Span::current())
        {
            return here;
        }
        Self::of(headers).or_begun()
    }

    /// Where the trace stands within `span`, if spans are exported.
    pub(crate) fn within(span: &Span) -> Option<Self> {
        if !are_exported() {
            return None;
        }
        let context = span.context();
        let span = context.span();
        let id = span.span_context();
        id.is_valid().then(|| Self {
            parent: Some(format!("00-{}-{}-{:02x}", id.trace_id(), id.span_id(), id.trace_flags())),
            state: Some(id.trace_state().header()).filter(|state| !state.is_empty()),
        })
    }

    /// Puts `span`, which nobody has entered yet, under this, where spans are exported.
    pub(crate) fn adopt(&self, span: &Span) {
        if are_exported()
            && let Some(parent) = self.remote()
        {
            // Refused where the span is not recorded.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        }
    }

    /// [Adopts](Self::adopt) `span`, and says where the trace stands within it. Where spans are not exported that is where it
    /// stood, so that the spans before and after the gateway stay together.
    pub(crate) fn enter(&self, span: &Span) -> Self {
        self.adopt(span);
        Self::within(span).unwrap_or_else(|| self.clone().or_begun())
    }

    /// Where there is none, a trace that nobody records, for those behind to go on with.
    fn or_begun(self) -> Self {
        if self.parent.is_some() {
            return self;
        }
        // Zero is no id.
        let (trace, span) = (rand::random::<u128>().max(1), rand::random::<u64>().max(1));
        Self { parent: Some(format!("00-{trace:032x}-{span:016x}-00")), state: None }
    }

    fn remote(&self) -> Option<SpanContext> {
        let [trace, span, flags] = ids(self.parent.as_deref()?)?;
        Some(SpanContext::new(
            TraceId::from_hex(trace).ok()?,
            SpanId::from_hex(span).ok()?,
            TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
            true,
            self.state.as_deref().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default(),
        ))
    }

    /// Puts it on a request.
    pub(crate) fn put(self, headers: &mut HeaderMap) {
        for (name, value) in [(PARENT, self.parent), (STATE, self.state)] {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
}

/// Trace, span and flags of a `traceparent` (W3C Trace Context, §3.2). One of a later version may go on after them.
fn ids(parent: &str) -> Option<[&str; 3]> {
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    let some = |text: &str| text.bytes().any(|c| c != b'0');
    let mut parts = parent.splitn(5, '-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let valid = hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && hex(trace, 32)
        && some(trace)
        && hex(span, 16)
        && some(span)
        && hex(flags, 2);
    valid.then_some([trace, span, flags])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn of(lines: &[(&'static str, &str)]) -> TraceContext {
        TraceContext::of(&lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
    }

    #[test]
    fn a_traceparent_is_read_as_w3c_has_it() {
        for (text, flags) in [
            (format!("00-{TRACE}-{SPAN}-01"), "01"),
            (format!("00-{TRACE}-{SPAN}-00"), "00"),
            (format!("01-{TRACE}-{SPAN}-01"), "01"),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-brings"), "01"),
        ] {
            let parent = of(&[("traceparent", &text)]).parent;
            assert_eq!(parent, Some(format!("00-{TRACE}-{SPAN}-{flags}")), "{text}");
        }
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("01-{TRACE}-{SPAN}-01more"),
        ] {
            let context = of(&[("traceparent", &text), ("tracestate", "a=1")]);
            assert!(context.parent.is_none() && context.state.is_none(), "{text}");
        }
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert!(of(&[("traceparent", &good), ("traceparent", &good)]).parent.is_none());
    }

    #[test]
    fn the_lines_of_a_tracestate_are_one_list() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let context = of(&[("traceparent", &parent), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        assert_eq!(context.state.as_deref(), Some("a=1,b=2"));
    }

    #[test]
    fn without_an_export_a_trace_goes_on_as_it_came_and_a_missing_one_is_begun() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let came = of(&[("traceparent", &parent), ("tracestate", "a=1")]);
        let within = came.enter(&Span::none());
        assert_eq!((within.parent, within.state), (came.parent, came.state));

        let begun = TraceContext::default().enter(&Span::none());
        let [_, _, flags] = ids(begun.parent.as_deref().unwrap()).unwrap();
        assert_eq!(flags, "00");
    }
}
