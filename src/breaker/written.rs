//! Settings as people write them.

use std::{fmt, time::Duration};

use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};

use super::{builder::CircuitBuilder, half_open::HalfOpen, name::Name};
use crate::{config::ConfigError, written::Written};

const SETTINGS: &[&str] = &[
    "name",
    "consecutive_failures",
    "failures",
    "failure_rate",
    "slow_call",
    "slow_call_rate",
    "mean_latency",
    "minimum_calls",
    "window",
    "count_window",
    "open_for",
    "open_growth",
    "open_jitter",
    "honour_retry_after",
    "half_open",
    "stripes",
];

/// From a map whose keys are the names of the builder's methods, and `name`, which has to be there. Durations have a unit
/// (`"15s"`, `"1m 30s"`), rates are fractions or in percent (`0.5`, `"50 %"`), and a `null` leaves the default. Numbers may be text.
/// `open_growth` is a map of `factor` and `longest`; `half_open` a map of `permits`, `successes`, `max_concurrent` and `timeout`, or
/// the number of permits alone. An error names the setting, and so does a later one of [`build`](CircuitBuilder::build), which
/// checks what they mean.
///
/// The format has to say what its values are, as JSON, TOML and YAML do.
///
/// ```
/// use portcullis::breaker::CircuitBuilder;
///
/// let settings = r#"{
///     "name": "customer-api",
///     "consecutive_failures": 5,
///     "failure_rate": "50 %",
///     "slow_call": "1.5s",
///     "window": "1m",
///     "open_for": "15s",
///     "open_growth": { "factor": 2, "longest": "2m" },
///     "half_open": { "permits": 3, "timeout": "30s" }
/// }"#;
/// let builder: CircuitBuilder = serde_json::from_str(settings).unwrap();
/// assert_eq!(builder.build().unwrap().name(), "customer-api");
///
/// let error = serde_json::from_str::<CircuitBuilder>(r#"{ "name": "a", "open_for": "15" }"#).unwrap_err().to_string();
/// assert!(error.starts_with(r#"open_for must be a duration with its unit, such as "15s" or "1m 30s", but is "15""#), "{error}");
/// ```
impl<'de> Deserialize<'de> for CircuitBuilder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Settings)
    }
}

struct Settings;

impl<'de> Visitor<'de> for Settings {
    type Value = CircuitBuilder;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings of a circuit")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CircuitBuilder, A::Error> {
        let mut builder = CircuitBuilder::new(Name::from(""));
        let (mut seen, mut windows) = (Seen::default(), 0);
        while let Some(setting) = seen.next(&mut map, SETTINGS)? {
            match setting {
                "open_growth" => {
                    if let Some(Growth { factor, longest }) = map.next_value()? {
                        builder = builder.open_growth(factor, longest);
                    }
                }
                "half_open" => {
                    if let Some(Probing(half_open)) = map.next_value()? {
                        builder = builder.half_open(half_open);
                    }
                }
                _ => {
                    if let Some(value) = map.next_value::<Written>()?.set() {
                        windows += u32::from(matches!(setting, "window" | "count_window"));
                        builder = scalar(builder, setting, value).map_err(A::Error::custom)?;
                    }
                }
            }
        }
        if windows > 1 {
            return Err(A::Error::custom(ConfigError::new("count_window", "left out where window is set", "set")));
        }
        if builder.name.as_str().is_empty() {
            return Err(A::Error::missing_field("name"));
        }
        Ok(builder)
    }
}

fn scalar(builder: CircuitBuilder, setting: &'static str, value: Written) -> Result<CircuitBuilder, ConfigError> {
    Ok(match setting {
        "name" => CircuitBuilder { name: name(value)?, ..builder },
        "consecutive_failures" => builder.consecutive_failures(count(setting, value)?),
        "failures" => builder.failures(value.whole(setting, u64::MAX)?),
        "failure_rate" => builder.failure_rate(value.share(setting)?),
        "slow_call" => builder.slow_call(value.duration(setting)?),
        "slow_call_rate" => builder.slow_call_rate(value.share(setting)?),
        "mean_latency" => builder.mean_latency(value.duration(setting)?),
        "minimum_calls" => builder.minimum_calls(value.whole(setting, u64::MAX)?),
        "window" => builder.window(value.duration(setting)?),
        "count_window" => builder.count_window(size(setting, value)?),
        "open_for" => builder.open_for(value.duration(setting)?),
        "open_jitter" => builder.open_jitter(value.share(setting)?),
        "honour_retry_after" => builder.honour_retry_after(value.duration(setting)?),
        _ => builder.stripes(size(setting, value)?),
    })
}

fn name(value: Written) -> Result<Name, ConfigError> {
    let text = value.text("name")?;
    match Name::inline(&text) {
        Some(name) if !text.is_empty() => Ok(name),
        _ => Err(ConfigError::new("name", "1 to 38 bytes long", format_args!("{text:?}"))),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most what the type holds")]
fn count(setting: &'static str, value: Written) -> Result<u32, ConfigError> {
    Ok(value.whole(setting, u32::MAX.into())? as u32)
}

#[expect(clippy::cast_possible_truncation, reason = "at most what the type holds")]
fn size(setting: &'static str, value: Written) -> Result<usize, ConfigError> {
    Ok(value.whole(setting, usize::MAX as u64)? as usize)
}

/// The keys of a map so far: each is known, and comes once.
#[derive(Default)]
struct Seen(Vec<&'static str>);

impl Seen {
    fn next<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        known: &'static [&'static str],
    ) -> Result<Option<&'static str>, A::Error> {
        let Some(key) = map.next_key::<String>()? else { return Ok(None) };
        let Some(setting) = known.iter().find(|setting| **setting == key) else {
            return Err(A::Error::unknown_field(&key, known));
        };
        if self.has(setting) {
            return Err(A::Error::duplicate_field(setting));
        }
        self.0.push(setting);
        Ok(Some(setting))
    }

    fn has(&self, setting: &str) -> bool {
        self.0.contains(&setting)
    }
}

struct Growth {
    factor: f64,
    longest: Duration,
}

impl<'de> Deserialize<'de> for Growth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;

        impl<'de> Visitor<'de> for Map {
            type Value = Growth;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("for open_growth a map of factor and longest")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Growth, A::Error> {
                let (mut seen, mut factor, mut longest) = (Seen::default(), None, None);
                while let Some(setting) = seen.next(&mut map, &["factor", "longest"])? {
                    let value: Written = map.next_value()?;
                    if setting == "factor" {
                        factor = Some(value.share("open_growth.factor").map_err(A::Error::custom)?);
                    } else {
                        longest = Some(value.duration("open_growth.longest").map_err(A::Error::custom)?);
                    }
                }
                Ok(Growth {
                    factor: factor.ok_or_else(|| A::Error::missing_field("open_growth.factor"))?,
                    longest: longest.ok_or_else(|| A::Error::missing_field("open_growth.longest"))?,
                })
            }
        }

        deserializer.deserialize_map(Map)
    }
}

struct Probing(HalfOpen);

impl<'de> Deserialize<'de> for Probing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrMap;

        impl<'de> Visitor<'de> for NumberOrMap {
            type Value = Probing;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "for half_open a number of permits, or a map of permits, successes, max_concurrent and timeout",
                )
            }

            fn visit_u64<E: Error>(self, permits: u64) -> Result<Probing, E> {
                alone(permits)
            }

            fn visit_i64<E: Error>(self, permits: i64) -> Result<Probing, E> {
                alone(permits)
            }

            fn visit_f64<E: Error>(self, permits: f64) -> Result<Probing, E> {
                alone(permits)
            }

            fn visit_str<E: Error>(self, permits: &str) -> Result<Probing, E> {
                alone(permits)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Probing, A::Error> {
                let mut seen = Seen::default();
                let (mut permits, mut successes, mut max_concurrent, mut timeout) = (None, None, None, None);
                while let Some(setting) = seen.next(&mut map, &["permits", "successes", "max_concurrent", "timeout"])? {
                    let Some(value) = map.next_value::<Written>()?.set() else { continue };
                    let read = match setting {
                        "permits" => count("half_open.permits", value).map(|number| permits = Some(number)),
                        "successes" => count("half_open.successes", value).map(|number| successes = Some(number)),
                        "timeout" => value.duration("half_open.timeout").map(|span| timeout = Some(span)),
                        _ => count("half_open.max_concurrent", value).map(|number| max_concurrent = Some(number)),
                    };
                    read.map_err(A::Error::custom)?;
                }
                let mut half_open = HalfOpen::permits(permits.unwrap_or(HalfOpen::DEFAULT));
                half_open = successes.map_or(half_open, |number| half_open.successes(number));
                half_open = max_concurrent.map_or(half_open, |number| half_open.max_concurrent(number));
                Ok(Probing(timeout.map_or(half_open, |span| half_open.timeout(span))))
            }
        }

        /// Permits as any other number is written.
        fn alone<'de, E: Error>(permits: impl IntoDeserializer<'de, E>) -> Result<Probing, E> {
            let permits = count("half_open", Written::deserialize(permits.into_deserializer())?).map_err(E::custom)?;
            Ok(Probing(HalfOpen::permits(permits)))
        }

        deserializer.deserialize_any(NumberOrMap)
    }
}
