//! Single settings as people write them, with errors that name the setting.

use std::{fmt, time::Duration};

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::config::ConfigError;

/// The value of one setting, whatever its type: only who reads it knows the setting's name.
pub(crate) enum Written {
    Text(String),
    Number(f64),
    /// Where it is no such thing as a setting can be.
    Other(&'static str),
    /// Left out on purpose.
    Nothing,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => number.fmt(f),
            Self::Other(kind) => f.write_str(kind),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}

impl Written {
    /// A duration with its unit, such as `15s`, `1.5s`, `250ms` or `1m 30s`.
    pub(crate) fn duration(self, setting: &'static str) -> Result<Duration, ConfigError> {
        let span = if let Self::Text(text) = &self { duration(text) } else { None };
        span.ok_or_else(|| ConfigError::new(setting, "a duration with its unit, such as \"15s\" or \"1m 30s\"", self))
    }

    /// A number that has no fraction and is not negative, at most `most`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "whole, not negative, and exact up to 2⁵³, above which nobody counts"
    )]
    pub(crate) fn whole(self, setting: &'static str, most: u64) -> Result<u64, ConfigError> {
        let most = most.min(1 << 53);
        let number = self.number().filter(|number| number.fract() == 0.0 && (0.0..=most as f64).contains(number));
        number.map(|number| number as u64).ok_or_else(|| ConfigError::new(setting, "a whole number in range", self))
    }

    /// A share, as a fraction or in percent: `0.5` or `50 %`.
    pub(crate) fn share(self, setting: &'static str) -> Result<f64, ConfigError> {
        let percent = match &self {
            Self::Text(text) => text.strip_suffix('%').map(|text| text.trim_end().parse::<f64>().ok()),
            _ => None,
        };
        let share = percent.map_or_else(|| self.number(), |percent| percent.map(|percent| percent / 100.0));
        share.ok_or_else(|| ConfigError::new(setting, "a number such as 0.5, or \"50 %\"", self))
    }

    /// Numbers are also read where they are written as text: environments know nothing else.
    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Other(_) | Self::Nothing => None,
        }
    }

    pub(crate) fn text(self, setting: &'static str) -> Result<String, ConfigError> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(ConfigError::new(setting, "text", other)),
        }
    }

    /// What was set, if anything was.
    pub(crate) fn set(self) -> Option<Self> {
        if let Self::Nothing = self { None } else { Some(self) }
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a setting")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Written, E> {
                Ok(Written::Text(text.to_owned()))
            }

            #[expect(clippy::cast_precision_loss, reason = "exact up to 2⁵³, above which nobody counts")]
            fn visit_u64<E: Error>(self, number: u64) -> Result<Written, E> {
                Ok(Written::Number(number as f64))
            }

            #[expect(clippy::cast_precision_loss, reason = "exact up to 2⁵³, above which nobody counts")]
            fn visit_i64<E: Error>(self, number: i64) -> Result<Written, E> {
                Ok(Written::Number(number as f64))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Written, E> {
                Ok(Written::Number(number))
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Written, E> {
                Ok(Written::Other("a boolean"))
            }

            fn visit_unit<E: Error>(self) -> Result<Written, E> {
                Ok(Written::Nothing)
            }

            fn visit_none<E: Error>(self) -> Result<Written, E> {
                Ok(Written::Nothing)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Written, D::Error> {
                Written::deserialize(deserializer)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Written, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Written::Other("a list"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Written::Other("a map"))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// Numbers with units, one after the other: each is at most nine digits after the point exact.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut nanos = 0_u128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_ends = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_ends);
        let after = after.trim_start();
        let unit_ends = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_ends);
        nanos = nanos.checked_add(times(number, unit_nanos(unit)?)?)?;
        rest = after.trim_start();
    }
    let nanos = u64::try_from(nanos).ok()?;
    Some(Duration::from_nanos(nanos))
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    })
}

/// `number` units, where it is one such as `15` or `1.5`.
fn times(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.len() > 9 {
        return None;
    }
    let (whole, parts) = (whole.parse::<u64>().ok()?, fraction.parse::<u64>().ok()?);
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(u128::from(whole) * unit + u128::from(parts) * unit / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, nanos) in [
            ("15s", 15_000_000_000),
            ("1.5s", 1_500_000_000),
            (" 250 ms ", 250_000_000),
            ("1m30s", 90_000_000_000),
            ("1m 30s", 90_000_000_000),
            ("2min", 120_000_000_000),
            ("1h", 3_600_000_000_000),
            ("1d", 86_400_000_000_000),
            ("7µs", 7_000),
            ("0.000000001s", 1),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_none() {
        for text in
            ["", " ", "15", "s", "15 parsecs", "-1s", "1.s", ".5s", "1..5s", "1s15", "1.0000000001s", "1e3s", "٣s"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration("18446744073709551615d"), None, "longer than a clock can tell");
        assert_eq!(duration("99999999999999999999s"), None);
    }
}
