//! A span in one word, for what is copied with each call.

use std::{fmt, time::Duration};

use crate::time::nanos;

/// A span to the nanosecond; one of 584 years or more is endless.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span(u64);

impl Span {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn new(span: Duration) -> Self {
        Self(nanos(span))
    }

    pub(super) const fn get(self) -> Duration {
        if self.0 == u64::MAX { Duration::MAX } else { Duration::from_nanos(self.0) }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_kept_to_the_nanosecond_and_what_is_beyond_a_word_is_endless() {
        for exact in [0, 1, 999_999_999, 1_000_000_000, u64::MAX - 1].map(Duration::from_nanos) {
            assert_eq!(Span::new(exact).get(), exact);
        }
        for endless in [Duration::from_nanos(u64::MAX), Duration::from_secs(20_000_000_000), Duration::MAX] {
            assert_eq!(Span::new(endless).get(), Duration::MAX);
        }
    }
}
