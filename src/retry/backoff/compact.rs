//! A backoff in the least space, for what is copied with each call.

use super::{Backoff, Jitter, Kind};
use crate::retry::span::Span;

/// A backoff without a user's function.
#[derive(Clone, Copy, Debug)]
pub(in crate::retry) enum Compact {
    Exponential { base: Span, max: Span, factor: f64, jitter: Spread },
    Constant(Span),
}

/// A [`Jitter`].
#[derive(Clone, Copy, Debug)]
pub(in crate::retry) enum Spread {
    Full,
    Equal,
    Decorrelated,
    Additive(Span),
    None,
}

impl Compact {
    /// None for a user's function.
    pub(in crate::retry) fn new(backoff: &Backoff) -> Option<Self> {
        Some(match backoff.kind {
            Kind::Exponential { base, max, factor, jitter } => {
                let jitter = match jitter {
                    Jitter::Full => Spread::Full,
                    Jitter::Equal => Spread::Equal,
                    Jitter::Decorrelated => Spread::Decorrelated,
                    Jitter::Additive(most) => Spread::Additive(Span::new(most)),
                    Jitter::None => Spread::None,
                };
                Self::Exponential { base: Span::new(base), max: Span::new(max), factor, jitter }
            }
            Kind::Constant(wait) => Self::Constant(Span::new(wait)),
            Kind::Custom(_) => return None,
        })
    }

    pub(in crate::retry) fn backoff(self) -> Backoff {
        Backoff::new(match self {
            Self::Exponential { base, max, factor, jitter } => {
                let jitter = match jitter {
                    Spread::Full => Jitter::Full,
                    Spread::Equal => Jitter::Equal,
                    Spread::Decorrelated => Jitter::Decorrelated,
                    Spread::Additive(most) => Jitter::Additive(most.get()),
                    Spread::None => Jitter::None,
                };
                Kind::Exponential { base: base.get(), max: max.get(), factor, jitter }
            }
            Self::Constant(wait) => Kind::Constant(wait.get()),
        })
    }
}
