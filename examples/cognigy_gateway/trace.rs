//! The trace that a webhook belongs to: W3C's `traceparent` and `tracestate`, the only headers that go on.

use http::{HeaderMap, HeaderValue};

/// Trace context as it came; empty where there was none.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceContext {
    pub(crate) parent: Option<String>,
    pub(crate) state: Option<String>,
}

impl TraceContext {
    /// What a request carries. A repeated `traceparent` is none, and the lines of a `tracestate` are one list.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let lines = |name| headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect::<Vec<_>>();
        let (parent, state) = (lines("traceparent"), lines("tracestate"));
        let [parent] = parent[..] else { return Self::default() };
        Self { parent: Some(parent.to_owned()), state: Some(state.join(",")).filter(|state| !state.is_empty()) }
    }

    /// Adds it to a request.
    pub(crate) fn put(&self, headers: &mut HeaderMap) {
        for (name, value) in [("traceparent", &self.parent), ("tracestate", &self.state)] {
            if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
}
