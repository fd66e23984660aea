//! What is wrong with a setting.

use std::fmt;
#[cfg(any(feature = "bearer", feature = "breaker", feature = "retry"))]
use std::time::Duration;

/// A setting that no layer can be built with; it names the setting, what it has to be, and what it is.
///
/// ```
/// # #[cfg(feature = "retry")] {
/// use portcullis::retry::RetryPolicy;
///
/// let error = RetryPolicy::http().max_attempts(0).build().unwrap_err();
/// assert_eq!(error.setting(), "max_attempts");
/// assert_eq!(error.to_string(), "max_attempts must be at least 1, but is 0");
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    setting: &'static str,
    rule: &'static str,
    value: String,
}

impl ConfigError {
    /// `rule` continues "the setting must be ...".
    pub(crate) fn new(setting: &'static str, rule: &'static str, value: impl fmt::Display) -> Self {
        Self { setting, rule, value: value.to_string() }
    }

    /// The name of the setting: that of the builder's method, or `rules` where there is none at all, or the name within
    /// `half_open`.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be {}, but is {}", self.setting, self.rule, self.value)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(any(feature = "breaker", feature = "retry", feature = "signature"))]
pub(crate) fn at_least_one<N>(setting: &'static str, number: Option<N>) -> Result<N, ConfigError> {
    number.ok_or_else(|| ConfigError::new(setting, "at least 1", 0))
}

#[cfg(any(feature = "bearer", feature = "breaker", feature = "retry"))]
pub(crate) fn above_zero(setting: &'static str, span: Duration) -> Result<Duration, ConfigError> {
    if span.is_zero() { Err(ConfigError::new(setting, "longer than zero", "0s")) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_setting_the_rule_and_the_value() {
        let error = ConfigError::new("failure_rate", "above 0 and at most 1", 1.01);
        assert_eq!(error.to_string(), "failure_rate must be above 0 and at most 1, but is 1.01");
        assert_eq!(error.setting(), "failure_rate");
    }
}
