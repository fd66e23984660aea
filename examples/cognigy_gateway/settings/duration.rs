//! Durations as people write them: `500ms`, `10s`, `1m30s`.

use std::time::Duration;

/// From the largest to the smallest; each may occur once, in this order.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration, zero included.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    const HOW: &str = "a duration is written like 500ms, 10s or 1m30s, with a unit";
    let (mut rest, mut millis, mut units) = (text, 0_u64, UNITS.iter());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(HOW)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let (_, scale) = units.find(|(name, _)| *name == unit).ok_or(HOW)?;
        let number: u64 = number.parse().map_err(|_| HOW)?;
        millis = number.checked_mul(*scale).and_then(|part| millis.checked_add(part)).ok_or("too long a duration")?;
        rest = tail;
    }
    if text.is_empty() { Err(HOW.into()) } else { Ok(Duration::from_millis(millis)) }
}

/// Reads a duration where zero makes no sense.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("must be longer than zero".into()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up_from_the_largest_down() {
        for (text, millis) in
            [("0s", 0), ("500ms", 500), ("10s", 10_000), ("1m30s", 90_000), ("24h", 86_400_000), ("1d1ms", 86_400_001)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "0", "10", "s", "ms", "-1s", "1.5s", "1 s", " 1s", "1s ", "1S", "1s1s", "30s1m", "1y", "1µs", "٣s"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("99999999999999999999s").is_err());
        assert!(parse("18446744073709551615d").is_err());
        assert!(positive("0ms").is_err());
    }
}
