//! Numbers, words and secrets, as settings have them.

use std::{fmt, str::FromStr};

use clap::{ValueEnum, builder::ValueParser, value_parser};
use tracing_subscriber::EnvFilter;

pub(super) fn at_least_one() -> ValueParser {
    value_parser!(u32).range(1..).into()
}

/// Reads a rate, down to the least that the circuit counts.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (1e-9..=1.0).contains(&rate) => Ok(rate),
        _ => Err("a rate is at least 0.000000001 and at most 1".into()),
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string().replace('\n', " "))
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// A secret or a token: nothing prints it.
#[derive(Clone)]
pub(crate) struct Hidden(String);

impl Hidden {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The value of an `Authorization` header, if it can be one.
    pub(crate) fn bearer(&self) -> Option<http::HeaderValue> {
        let mut value = http::HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_above_zero_and_at_most_one() {
        assert_eq!(rate("1"), Ok(1.0));
        assert_eq!(rate("0.000000001"), Ok(1e-9));
        for text in ["0", "0.0000000009", "1.01", "-0.5", "NaN", "inf", "half", ""] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
