//! What is wrong with a scheme or a secret.

use std::fmt;

/// A setting that cannot be used; it names the setting, and never shows its value.
///
/// ```
/// use portcullis::signature::Secret;
///
/// assert_eq!(Secret::new("").unwrap_err().to_string(), "secret must not be empty");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    setting: &'static str,
    problem: &'static str,
}

impl ConfigError {
    pub(super) const fn new(setting: &'static str, problem: &'static str) -> Self {
        Self { setting, problem }
    }

    /// The setting's name, as the method that sets it has it.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.problem)
    }
}

impl std::error::Error for ConfigError {}
