//! The `tracing` macros that the crate uses, which expand to nothing without the feature.

#[cfg(feature = "tracing")]
pub(crate) use tracing::{debug, info, warn};

#[cfg(not(feature = "tracing"))]
mod silent {
    /// Names its arguments, so that a build without `tracing` has no unused variables, and evaluates none of them.
    macro_rules! event {
        ($($field:ident = $(% $display:expr)? $(, $rest:tt)*)?) => {};
        ($($anything:tt)*) => {};
    }
    pub(crate) use {event as debug, event as info, event as warn};
}
#[cfg(not(feature = "tracing"))]
pub(crate) use silent::{debug, info, warn};
