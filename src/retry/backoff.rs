//! How long to wait before a retry: pure arithmetic, with the randomness as an argument.

use std::{fmt, sync::Arc, time::Duration};

use crate::ConfigError;

/// How long to wait before each retry.
///
/// ```
/// use std::time::Duration;
/// use portcullis::retry::{Backoff, Jitter};
///
/// let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(20)).jitter(Jitter::None);
/// assert_eq!(backoff.delay(1, Duration::ZERO, 0.5), Duration::from_millis(100));
/// assert_eq!(backoff.delay(4, Duration::ZERO, 0.5), Duration::from_millis(800));
/// assert_eq!(backoff.delay(u32::MAX, Duration::ZERO, 0.5), Duration::from_secs(20));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Backoff {
    kind: Kind,
    /// A setter that this kind has no use for; said when the policy is built.
    misused: Option<Misused>,
}

#[derive(Clone, Copy, Debug)]
enum Misused {
    Factor,
    Jitter,
}

#[derive(Clone)]
enum Kind {
    Plain(Waits),
    Custom(Arc<Custom>),
}

/// Waits without a user's function. Their spans may be in another form: what is copied with each call has little space.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waits<S = Duration> {
    Exponential { base: S, max: S, factor: f64, jitter: Jitter },
    Constant(S),
}

type Custom = dyn Fn(u32, Duration, f64) -> Duration + Send + Sync;

/// What randomness does to an exponential wait, here called *e*, which is base · factorⁿ for retry n, counted from 0.
///
/// The cap is applied last, so that no jitter exceeds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Jitter {
    /// Anything from nothing to all of the capped *e*: it spreads best, which is why it is the default.
    #[default]
    Full,
    /// Half of the capped *e*, and anything up to the other half on top.
    Equal,
    /// Anything from the base to three times what was named before; the factor plays no part.
    Decorrelated,
    /// *e* with anything up to this on top, capped.
    Additive(Duration),
    /// The capped *e* itself. Callers that failed together come back together.
    None,
}

impl Backoff {
    const fn new(kind: Kind) -> Self {
        Self { kind, misused: None }
    }

    /// Waits that begin at `base`, double each time, and never exceed `max`, with [`Jitter::Full`].
    ///
    /// A `base` above `max` is legal: every wait is cut to `max`.
    pub const fn exponential(base: Duration, max: Duration) -> Self {
        Self::new(Kind::Plain(Waits::Exponential { base, max, factor: 2.0, jitter: Jitter::Full }))
    }

    /// The same wait every time. For one with jitter, take an exponential one and the factor 1.
    pub const fn constant(wait: Duration) -> Self {
        Self::new(Kind::Plain(Waits::Constant(wait)))
    }

    /// Waits that a function names; what it is given is what [`delay`](Self::delay) is.
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::retry::Backoff;
    ///
    /// let linear = Backoff::custom(|retry, _previous, _random| Duration::from_secs(1).saturating_mul(retry));
    /// assert_eq!(linear.delay(3, Duration::ZERO, 0.0), Duration::from_secs(3));
    /// ```
    pub fn custom(wait: impl Fn(u32, Duration, f64) -> Duration + Send + Sync + 'static) -> Self {
        Self::new(Kind::Custom(Arc::new(wait)))
    }

    /// What an exponential wait is multiplied by each time, 2 unless set; at least 1. Others have no factor: a policy with
    /// one is not built.
    pub fn factor(mut self, by: f64) -> Self {
        match &mut self.kind {
            Kind::Plain(Waits::Exponential { factor, .. }) => *factor = by,
            Kind::Plain(Waits::Constant(_)) | Kind::Custom(_) => self.misused = Some(Misused::Factor),
        }
        self
    }

    /// What randomness does to an exponential wait. Others have no jitter: a policy with one is not built.
    pub fn jitter(mut self, with: Jitter) -> Self {
        match &mut self.kind {
            Kind::Plain(Waits::Exponential { jitter, .. }) => *jitter = with,
            Kind::Plain(Waits::Constant(_)) | Kind::Custom(_) => self.misused = Some(Misused::Jitter),
        }
        self
    }

    /// The wait before retry `retry`, counted from 1. `previous` is what this backoff named last (zero for the first), also
    /// where a hint took its place; `random` is uniform in `[0, 1]`, and drawn anew for each decision.
    ///
    /// An exponential wait never exceeds its cap, and no argument makes it panic.
    #[must_use]
    pub fn delay(&self, retry: u32, previous: Duration, random: f64) -> Duration {
        match &self.kind {
            Kind::Plain(waits) => waits.delay(retry, previous, random),
            Kind::Custom(wait) => wait(retry, previous, share(random)),
        }
    }

    /// None where there is a user's function.
    pub(super) const fn plain(&self) -> Option<Waits> {
        match self.kind {
            Kind::Plain(waits) => Some(waits),
            Kind::Custom(_) => None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if let Some(misused) = self.misused {
            let setting = match misused {
                Misused::Factor => "factor",
                Misused::Jitter => "jitter",
            };
            return Err(ConfigError::new(setting, "set on an exponential backoff", "on another"));
        }
        match self.kind {
            Kind::Plain(Waits::Exponential { factor, .. }) if !(factor.is_finite() && factor >= 1.0) => {
                Err(ConfigError::new("factor", "a finite number of at least 1", factor))
            }
            _ => Ok(()),
        }
    }
}

impl<S> Waits<S> {
    /// The same with its spans in another form.
    pub(super) fn map<T>(self, form: impl Fn(S) -> T) -> Waits<T> {
        match self {
            Self::Exponential { base, max, factor, jitter } => {
                Waits::Exponential { base: form(base), max: form(max), factor, jitter }
            }
            Self::Constant(wait) => Waits::Constant(form(wait)),
        }
    }
}

impl Waits {
    /// See [`Backoff::delay`].
    pub(super) fn delay(self, retry: u32, previous: Duration, random: f64) -> Duration {
        let (base, max, factor, jitter) = match self {
            Self::Exponential { base, max, factor, jitter } => (base, max, factor, jitter),
            Self::Constant(wait) => return wait,
        };
        let random = share(random);
        let capped = grow(base, factor, retry).min(max);
        let wait = match jitter {
            Jitter::Full => scale(capped, random),
            Jitter::Equal => capped / 2 + scale(capped - capped / 2, random),
            Jitter::Decorrelated => {
                let most = previous.max(base).saturating_mul(3);
                base.saturating_add(scale(most - base, random))
            }
            Jitter::Additive(most) => capped.saturating_add(scale(most, random)),
            Jitter::None => capped,
        };
        wait.min(max)
    }
}

/// Randomness as a share, whatever a user's source of it says.
const fn share(random: f64) -> f64 {
    if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) }
}

/// base · factorⁿ⁻¹, saturating. A base of zero stays zero, also where the power is infinite.
fn grow(base: Duration, factor: f64, retry: u32) -> Duration {
    let exponent = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
    if base.is_zero() { base } else { seconds(base.as_secs_f64() * factor.powi(exponent)) }
}

/// A share of `span`, where `share` is in `[0, 1]`.
pub(super) fn scale(span: Duration, share: f64) -> Duration {
    // Rounding to a float and back may exceed what was given, at spans of months.
    seconds(span.as_secs_f64() * share).min(span)
}

/// `seconds` as a duration; what is beyond the longest one is the longest one.
pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(Waits::Exponential { base, max, factor, jitter }) => {
                write!(f, "exponential {base:?} x {factor} up to {max:?}, jitter {jitter:?}")
            }
            Self::Plain(Waits::Constant(wait)) => write!(f, "constant {wait:?}"),
            Self::Custom(_) => f.write_str("custom"),
        }
    }
}

#[cfg(test)]
mod tests;
