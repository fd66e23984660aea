//! What makes the settings of a circuit sound.

use std::{num::NonZero, time::Duration};

use super::{
    builder::CircuitBuilder,
    half_open::HalfOpen,
    opening::Opening,
    plan::Plan,
    rules::{Rate, Rules},
    window::Length,
};
use crate::{
    config::{ConfigError, above_zero, at_least_one},
    time::nanos,
};

/// A count window keeps every call that it counts, so it has a limit: 2²⁰ calls take 16 MiB.
const LARGEST_COUNT_WINDOW: usize = 1 << 20;

impl CircuitBuilder {
    /// What the circuit is told to do, or the first setting that makes no sense.
    pub(super) fn plan(&self) -> Result<Plan, ConfigError> {
        let minimum_calls = at_least_one("minimum_calls", NonZero::new(self.minimum_calls))?.get();
        let rules = Rules {
            consecutive_failures: set(self.consecutive_failures, |n| {
                at_least_one("consecutive_failures", NonZero::new(n))
            })?,
            failures: set(self.failures, |n| at_least_one("failures", NonZero::new(n)))?,
            failure_rate: set(self.failure_rate, |share| rate("failure_rate", share))?,
            slow_call_rate: set(self.slow_call_rate, |share| rate("slow_call_rate", share))?,
            mean_latency: set(self.mean_latency, |limit| above_zero("mean_latency", limit))?,
            minimum_calls: match self.window {
                Length::Calls(size) => minimum_calls.min(size as u64),
                Length::Time(_) => minimum_calls,
            },
        };
        let no_rule = rules.consecutive_failures.is_none()
            && rules.failures.is_none()
            && rules.failure_rate.is_none()
            && rules.slow_call_rate.is_none()
            && rules.mean_latency.is_none();
        if no_rule {
            return Err(ConfigError::new(
                "rules",
                "one or more of consecutive_failures, failures, failure_rate, slow_call_rate and mean_latency",
                "none",
            ));
        }
        if rules.slow_call_rate.is_some() && self.slow_call.is_none() {
            return Err(ConfigError::new("slow_call", "set where slow_call_rate is", "missing"));
        }
        match self.window {
            Length::Time(span) if span < Duration::from_millis(1) => {
                return Err(ConfigError::new("window", "at least 1ms", format_args!("{span:?}")));
            }
            Length::Calls(size) if !(1..=LARGEST_COUNT_WINDOW).contains(&size) => {
                return Err(ConfigError::new("count_window", "1 to 1048576 calls", size));
            }
            Length::Calls(size) if rules.failures.is_some_and(|failures| failures.get() > size as u64) => {
                return Err(ConfigError::new(
                    "failures",
                    "at most the count window",
                    self.failures.unwrap_or_default(),
                ));
            }
            Length::Time(_) | Length::Calls(_) => {}
        }
        let HalfOpen { permits, successes, max_concurrent, timeout } = self.half_open;
        at_least_one("half_open.permits", NonZero::new(permits))?;
        at_least_one("half_open.successes", NonZero::new(successes))?;
        at_least_one("half_open.max_concurrent", NonZero::new(max_concurrent))?;
        above_zero("half_open.timeout", timeout)?;
        if successes > permits {
            return Err(ConfigError::new("half_open.successes", "at most the number of permits", successes));
        }
        Ok(Plan {
            rules,
            window: self.window,
            slow_call: set(self.slow_call, |limit| above_zero("slow_call", limit))?.map_or(u64::MAX, nanos),
            opening: self.opening()?,
            half_open: self.half_open,
        })
    }

    fn opening(&self) -> Result<Opening, ConfigError> {
        let first = above_zero("open_for", self.open_for)?;
        let (growth, longest) = self.growth.unwrap_or((1.0, first));
        if !(growth.is_finite() && growth >= 1.0) {
            return Err(ConfigError::new("open_growth", "a factor of at least 1", growth));
        }
        if longest < first {
            return Err(ConfigError::new("open_growth", "up to open_for at least", format_args!("{longest:?}")));
        }
        let jitter = self.jitter.unwrap_or(if self.growth.is_some() { 0.1 } else { 0.0 });
        // An open time of nothing would be none.
        if !(0.0..1.0).contains(&jitter) {
            return Err(ConfigError::new("open_jitter", "at least 0 and below 1", jitter));
        }
        let hint_max = set(self.hint_max, |longest| above_zero("honour_retry_after", longest))?;
        Ok(Opening {
            first: nanos(first),
            growth,
            longest: nanos(longest),
            jitter,
            hint_max: hint_max.map_or(0, nanos),
            random: self.random,
        })
    }
}

/// Checks a setting that may be left out.
fn set<T, U>(value: Option<T>, check: impl FnOnce(T) -> Result<U, ConfigError>) -> Result<Option<U>, ConfigError> {
    value.map(check).transpose()
}

fn rate(setting: &'static str, share: f64) -> Result<Rate, ConfigError> {
    Rate::new(share).ok_or_else(|| ConfigError::new(setting, "at least 0.000000001 and at most 1", share))
}
