//! JSON that is checked, and passed on as it was written.
//!
//! Raw values keep numbers of any size and every escape as they came. They are skipped over without recursion, so that no
//! depth of nesting can overflow the stack.

use std::fmt;

use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The value that `bytes` hold, if they are UTF-8 JSON and nothing else.
pub(crate) fn parse(bytes: &[u8]) -> Option<&RawValue> {
    serde_json::from_str(std::str::from_utf8(bytes).ok()?).ok()
}

/// The members with one of these names of the object that `bytes` hold, if they are UTF-8 JSON and nothing else; of repeated ones
/// the last counts.
pub(crate) fn members<'a, const N: usize>(bytes: &'a [u8], names: [&str; N]) -> Option<[Option<&'a RawValue>; N]> {
    let mut reader = serde_json::Deserializer::from_str(std::str::from_utf8(bytes).ok()?);
    let found = reader.deserialize_map(Members(names)).ok()?;
    reader.end().ok().map(|()| found)
}

struct Members<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        // Names are read raw too: one that is no Unicode text, such as a lone surrogate, is still JSON.
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            if let Some(at) = self.0.iter().position(|wanted| is(name, wanted)) {
                found[at] = Some(value);
            }
        }
        Ok(found)
    }
}

/// Whether a string has this text.
fn is(string: &RawValue, wanted: &str) -> bool {
    let written = string.get();
    let quoted = written.strip_prefix('"').and_then(|written| written.strip_suffix('"'));
    quoted == Some(wanted) || written.contains('\\') && text(string).as_deref() == Some(wanted)
}

/// The text of a string, if it is one that can be held as Unicode.
pub(crate) fn text(string: &RawValue) -> Option<String> {
    serde_json::from_str(string.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a str> {
        members(object, [name])?[0].map(RawValue::get)
    }

    #[test]
    fn only_utf8_json_is_json() {
        for good in ["null", " 1 ", "[]", r#""\ud800""#, "1e999999", "-0.0", "123456789012345678901234567890"] {
            assert_eq!(parse(good.as_bytes()).map(RawValue::get), Some(good.trim()), "{good}");
        }
        for bad in
            ["", " ", "nul", "{", "{}x", "[1,]", "'a'", "01", "\"\n\"", "\u{feff}{}", "NaN", r#""\x""#, r#""\ud8""#]
        {
            assert!(parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(parse(b"\"\xff\"").is_none());
        assert!(parse(b"\"\xed\xa0\x80\"").is_none());
    }

    #[test]
    fn deep_nesting_is_json_and_no_stack_overflow() {
        let depth = 500_000;
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(deep.as_bytes()).is_some());
        let object = format!("{{\"a\":{deep}}}");
        assert_eq!(member(object.as_bytes(), "a"), Some(deep.as_str()));
        assert!(parse("[".repeat(depth).as_bytes()).is_none());
    }

    #[test]
    fn members_are_found_as_they_were_written() {
        let object = br#"{"n": 1.00e+2 , "\u006e2":[1, 2], "\ud800": 0, "n3":"a\u0062"} "#;
        assert_eq!(member(object, "n"), Some("1.00e+2"));
        assert_eq!(member(object, "n2"), Some("[1, 2]"));
        assert_eq!(member(object, "n3"), Some(r#""a\u0062""#));
        assert_eq!(member(object, "n4"), None);
        assert_eq!(member(br#"{"a":1,"a":2}"#, "a"), Some("2"));
        for other in [&b"[]"[..], b"{}x", b"{", b"{\"a\":01}", b"{\"b\":nul}", b"{\"\xff\":1}"] {
            assert!(members(other, ["a"]).is_none(), "{other:?}");
        }
    }
}
