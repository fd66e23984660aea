//! The rules that open a circuit.

use std::{fmt, num::NonZero, time::Duration};

use super::{window::Counts, word::Horizon};

/// The parts of a rate: rates are compared as integers, so one billion is their finest step.
const WHOLE: u32 = 1_000_000_000;

/// A share of calls, above 0 and at most 1, exact to nine digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(NonZero<u32>);

impl Rate {
    /// The rate, or `None` for what is no share above 0 and at most 1.
    pub(super) fn new(rate: f64) -> Option<Self> {
        // Rounded down, or two of three would not reach two thirds; the grain keeps 0.57 from becoming 0.569999999.
        let parts = (rate * f64::from(WHOLE) + 1e-3).floor();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 10⁹, or zero")]
        if rate <= 1.0 { Self::from_parts(parts as u32) } else { None }
    }

    /// In billionths.
    pub(super) const fn parts(self) -> u32 {
        self.0.get()
    }

    pub(super) const fn from_parts(parts: u32) -> Option<Self> {
        match NonZero::new(parts) {
            Some(parts) => Some(Self(parts)),
            None => None,
        }
    }

    /// The rate as a number from 0 to 1.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.parts()) / f64::from(WHOLE)
    }

    fn is_reached(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(WHOLE) >= u128::from(self.parts()) * u128::from(whole)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.parts()) / (f64::from(WHOLE) / 100.0))
    }
}

/// Why a circuit opened, with the figures of that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trip {
    /// So many calls in a row failed.
    ConsecutiveFailures {
        /// Failures in a row.
        failures: u32,
    },
    /// So many calls of the window failed.
    Failures {
        /// Failures in the window.
        failures: u64,
        /// Calls in the window.
        calls: u64,
    },
    /// The share of failed calls reached its limit.
    FailureRate {
        /// Failures in the window.
        failures: u64,
        /// Calls in the window.
        calls: u64,
        /// The limit that was reached.
        limit: Rate,
    },
    /// The share of slow calls reached its limit.
    SlowCallRate {
        /// Slow calls in the window.
        slow: u64,
        /// Calls in the window.
        calls: u64,
        /// The limit that was reached.
        limit: Rate,
    },
    /// The mean latency passed its limit.
    MeanLatency {
        /// Mean latency of the window's calls.
        mean: Duration,
        /// The limit that was passed.
        limit: Duration,
    },
    /// So many probes failed that the half-open circuit could not close any more.
    Probes {
        /// Probes that failed or were slow.
        failures: u32,
        /// Probes that a half-open period lets through.
        permits: u32,
    },
    /// The half-open period ended without a verdict.
    HalfOpenTimeout {
        /// How long the period may last.
        after: Duration,
    },
}

impl Trip {
    /// The name of the rule, as a label: `failure_rate`, `slow_call_rate` and so on.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::ConsecutiveFailures { .. } => "consecutive_failures",
            Self::Failures { .. } => "failures",
            Self::FailureRate { .. } => "failure_rate",
            Self::SlowCallRate { .. } => "slow_call_rate",
            Self::MeanLatency { .. } => "mean_latency",
            Self::Probes { .. } => "probes",
            Self::HalfOpenTimeout { .. } => "half_open_timeout",
        }
    }
}

impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures { failures: 1 } => f.write_str("1 failure"),
            Self::ConsecutiveFailures { failures } => write!(f, "{failures} failures in a row"),
            Self::Failures { failures, calls } => write!(f, "{failures} of {calls} calls failed"),
            Self::FailureRate { failures, calls, limit } => {
                write!(f, "{failures} of {calls} calls failed, limit {limit}")
            }
            Self::SlowCallRate { slow, calls, limit } => write!(f, "{slow} of {calls} calls were slow, limit {limit}"),
            Self::MeanLatency { mean, limit } => write!(f, "mean latency {mean:?}, limit {limit:?}"),
            Self::Probes { failures, permits } => write!(f, "{failures} of {permits} probes failed"),
            Self::HalfOpenTimeout { after } => write!(f, "half-open for {after:?} without a verdict"),
        }
    }
}

/// The rules of one circuit; a rule that is `None` never trips.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) consecutive_failures: Option<NonZero<u32>>,
    pub(super) failures: Option<NonZero<u64>>,
    pub(super) failure_rate: Option<Rate>,
    pub(super) slow_call_rate: Option<Rate>,
    pub(super) mean_latency: Option<Duration>,
    /// Rates and means count from so many calls on.
    pub(super) minimum_calls: u64,
}

impl Rules {
    /// The bucket from which on a success can break a rule, while nothing bad is recorded and `counts`, of a window that
    /// ends with `bucket`, break none.
    pub(super) fn horizon(&self, counts: &Counts, bucket: u64) -> u64 {
        let no_rate = self.failure_rate.is_none() && self.slow_call_rate.is_none();
        if no_rate || counts.failures == 0 && counts.slow == 0 {
            return Horizon::NEVER;
        }
        // More successes make a rate fall, except that one of them may complete the minimum.
        let completed = Counts { calls: self.minimum_calls, ..*counts };
        if counts.calls < self.minimum_calls && self.judge(0, &completed).is_some() {
            return Horizon::NOW;
        }
        bucket + 1
    }

    /// The first rule that `run` failures in a row, or the `counts` of the window, break.
    pub(super) fn judge(&self, run: u32, counts: &Counts) -> Option<Trip> {
        let &Counts { calls, failures, slow, .. } = counts;
        if self.consecutive_failures.is_some_and(|limit| run >= limit.get()) {
            return Some(Trip::ConsecutiveFailures { failures: run });
        }
        if self.failures.is_some_and(|limit| failures >= limit.get()) {
            return Some(Trip::Failures { failures, calls });
        }
        if calls < self.minimum_calls {
            return None;
        }
        if let Some(limit) = self.failure_rate.filter(|limit| limit.is_reached(failures, calls)) {
            return Some(Trip::FailureRate { failures, calls, limit });
        }
        if let Some(limit) = self.slow_call_rate.filter(|limit| limit.is_reached(slow, calls)) {
            return Some(Trip::SlowCallRate { slow, calls, limit });
        }
        // Compared as sums, since a mean that is rounded down could hide the nanosecond that is too much.
        let limit = self
            .mean_latency
            .filter(|limit| u128::from(counts.latency) > limit.as_nanos().saturating_mul(u128::from(calls)))?;
        Some(Trip::MeanLatency { mean: counts.mean_latency()?, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_share_above_zero_and_at_most_one() {
        for bad in [0.0, -0.1, 1.01, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Rate::new(bad), None, "{bad}");
        }
        assert_eq!(Rate::new(1.0), Rate::from_parts(WHOLE));
        assert_eq!(Rate::new(0.0001), Rate::from_parts(100_000));
        assert_eq!(Rate::new(0.57), Rate::from_parts(570_000_000));
    }

    #[test]
    fn rates_are_compared_as_integers() {
        let one_percent = Rate::new(0.01).unwrap();
        assert!(!one_percent.is_reached(1, 101));
        assert!(one_percent.is_reached(1, 100));
        assert!(Rate::new(1.0).unwrap().is_reached(u64::MAX, u64::MAX));
    }

    #[test]
    fn a_rate_that_no_decimal_can_hold_is_reached_by_its_own_fraction() {
        for whole in 1..=50_u32 {
            for part in 1..=whole {
                let rate = Rate::new(f64::from(part) / f64::from(whole)).unwrap();
                assert!(rate.is_reached(part.into(), whole.into()), "{part} of {whole}");
                assert!(!rate.is_reached(u64::from(part) - 1, whole.into()), "{part} of {whole}");
            }
        }
    }

    #[test]
    fn a_rate_is_written_as_it_was_set() {
        for (rate, text) in [(0.29, "29 %"), (0.07, "7 %"), (0.5, "50 %"), (0.005, "0.5 %"), (1.0, "100 %")] {
            assert_eq!(Rate::new(rate).unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_mean_is_not_rounded_before_it_is_compared() {
        let rules = Rules {
            consecutive_failures: None,
            failures: None,
            failure_rate: None,
            slow_call_rate: None,
            mean_latency: Some(Duration::from_nanos(10)),
            minimum_calls: 2,
        };
        let counts = |latency| Counts { calls: 2, latency, ..Counts::default() };
        assert_eq!(rules.judge(0, &counts(20)), None);
        assert!(rules.judge(0, &counts(21)).is_some());
    }
}
