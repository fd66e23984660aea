//! What happened: events for `tracing` and counters for `metrics`, each where that feature is on, and nothing where it is off.

/// `event!(WARN, "what happened", name = value, name = format_args!("{displayed}"))`
#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $message:literal $(, $name:ident = $value:expr)* $(,)?) => {
        tracing::event!(tracing::Level::$level, $($name = $value,)* $message)
    };
}

/// The values are named, so that a build without `tracing` has no unused variables.
#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($level:ident, $message:literal $(, $name:ident = $value:expr)* $(,)?) => {{
        $(let _ = &$value;)*
    }};
}

pub(crate) use event;

/// `count!("a_counter_total", "label" = value)`
#[cfg(all(feature = "metrics", feature = "retry"))]
macro_rules! count {
    ($name:literal $(, $label:literal = $value:expr)* $(,)?) => {
        metrics::counter!($name $(, $label => $value)*).increment(1)
    };
}

/// The values are named, so that a build without `metrics` has no unused variables, and not made.
#[cfg(all(not(feature = "metrics"), feature = "retry"))]
macro_rules! count {
    ($name:literal $(, $label:literal = $value:expr)* $(,)?) => {
        if false {
            $(let _ = $value;)*
        }
    };
}

#[cfg(feature = "retry")]
pub(crate) use count;
