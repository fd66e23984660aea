//! Events: what happened, for `tracing` where that feature is on, and nothing where it is off.

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
