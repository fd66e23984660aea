//! How a signature header is written.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::signature::{
    MAX_SIGNATURES, Reason,
    few::Few,
    mac::{Hash, Tag},
};

#[derive(Clone, Debug)]
pub(super) enum Grammar {
    /// The signature and nothing else.
    Bare,
    /// The signature after a fixed text, which is required.
    Prefix(String),
    /// Pairs of key and value, any number of them signatures.
    List { entries: char, pair: char, key: String },
}

/// How a signature's bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// Hex, of either case.
    #[default]
    Hex,
    /// Base64 of the standard alphabet, padded, in its one canonical form.
    Base64,
}

impl Encoding {
    /// The bytes that `text` stands for, however many.
    pub(super) fn bytes(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => STANDARD.decode(text).ok(),
        }
    }

    /// The MAC that `text` stands for, if it is one of `hash`'s length.
    pub(super) fn decode(self, text: &str, hash: Hash) -> Option<Tag> {
        // base64's decoder asks for room by whole groups of three bytes.
        let mut buffer = [0; Tag::MAX + 2];
        let length = match self {
            Self::Hex => from_hex(text.as_bytes(), &mut buffer[..hash.len()])?,
            Self::Base64 => STANDARD.decode_slice(text, &mut buffer).ok()?,
        };
        (length == hash.len()).then(|| Tag::new(&buffer[..length]))
    }

    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
        }
    }
}

/// Hex of `bytes.len()` bytes, of either case. Most requests have 64 digits of it, and `hex` takes four times as long.
fn from_hex(text: &[u8], bytes: &mut [u8]) -> Option<usize> {
    if text.len() != 2 * bytes.len() {
        return None;
    }
    let mut wrong = 0;
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (DIGITS[usize::from(digits[0])], DIGITS[usize::from(digits[1])]);
        wrong |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (wrong <= 0xf).then_some(bytes.len())
}

/// What a hex digit stands for, and more than that can be for all that is none.
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut digit = 0;
    while digit < 16 {
        digits[b"0123456789abcdef"[digit as usize] as usize] = digit;
        digits[b"0123456789ABCDEF"[digit as usize] as usize] = digit;
        digit += 1;
    }
    digits
};

impl Grammar {
    /// The signatures in `value`: at least one, and at most [`MAX_SIGNATURES`].
    pub(super) fn signatures<T>(&self, value: &str, decode: impl Fn(&str) -> Option<T>) -> Result<Few<T>, Reason> {
        let one = |text: &str| decode(text).map(Few::one).ok_or(Reason::Malformed);
        match self {
            Self::Bare => one(value),
            Self::Prefix(prefix) => one(value.strip_prefix(prefix.as_str()).ok_or(Reason::Malformed)?),
            Self::List { key, .. } => {
                let mut seen = 0;
                let mut signatures = Few::none();
                for text in self.values(value, key) {
                    seen += 1;
                    if seen > MAX_SIGNATURES {
                        return Err(Reason::Malformed);
                    }
                    // One that cannot be read is passed over, as providers' own libraries do: it may be of a later kind.
                    if let Some(signature) = decode(text) {
                        signatures.push(signature);
                    }
                }
                match (seen, signatures.as_slice().is_empty()) {
                    (0, _) => Err(Reason::Missing),
                    (_, true) => Err(Reason::Malformed),
                    (_, false) => Ok(signatures),
                }
            }
        }
    }

    /// The one value under `key` in a list.
    pub(super) fn only<'v>(&self, value: &'v str, key: &str) -> Result<&'v str, Reason> {
        let mut values = self.values(value, key);
        match (values.next(), values.next()) {
            (None, _) => Err(Reason::Missing),
            (Some(_), Some(_)) => Err(Reason::Repeated),
            (Some(only), None) => Ok(only),
        }
    }

    fn values<'v>(&self, value: &'v str, key: &str) -> impl Iterator<Item = &'v str> {
        let (entries, pair) = match self {
            Self::List { entries, pair, .. } => (*entries, *pair),
            // No other grammar has keys; a line feed occurs in no header.
            Self::Bare | Self::Prefix(_) => ('\n', '\n'),
        };
        value
            .split(entries)
            .filter_map(move |entry| entry.split_once(pair))
            .filter(move |(k, _)| *k == key)
            .map(|(_, v)| v)
    }

    /// The header's value for one signature, and for a timestamp where that is in the list.
    pub(super) fn print(&self, signature: &str, timestamp: Option<(&str, &str)>) -> String {
        match self {
            Self::Bare => signature.to_owned(),
            Self::Prefix(prefix) => format!("{prefix}{signature}"),
            Self::List { entries, pair, key } => match timestamp {
                Some((at, time)) => format!("{at}{pair}{time}{entries}{key}{pair}{signature}"),
                None => format!("{key}{pair}{signature}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(grammar: &Grammar, value: &str) -> Result<usize, Reason> {
        grammar.signatures(value, |text| Encoding::Hex.decode(text, Hash::Sha256)).map(|tags| tags.as_slice().len())
    }

    #[test]
    fn an_encoding_is_read_in_its_canonical_form_and_length_alone() {
        let decode = |encoding: Encoding, text: &str| encoding.decode(text, Hash::Sha256).is_some();
        let bytes = [0xfb; 32];
        for encoding in [Encoding::Hex, Encoding::Base64] {
            let text = encoding.encode(&bytes);
            assert!(decode(encoding, &text));
            assert!(!decode(encoding, &format!(" {text}")) && !decode(encoding, &format!("{text}\n")));
            assert!(
                !decode(encoding, &encoding.encode(&bytes[1..])) && !decode(encoding, &encoding.encode(&[0xfb; 33]))
            );
            assert!(!decode(encoding, &encoding.encode(&[0xfb; 64])) && !decode(encoding, &text.repeat(100)));
        }
        assert!(decode(Encoding::Hex, &"Fb".repeat(32)));
        let base64 = Encoding::Base64.encode(&bytes);
        assert!(!decode(Encoding::Base64, base64.trim_end_matches('=')), "without padding");
        assert!(!decode(Encoding::Base64, &base64.replace('+', "-")), "another alphabet");
        assert!(!decode(Encoding::Base64, &base64.replace("s=", "t=")), "bits set that stand for nothing");
    }

    #[test]
    fn hex_is_read_as_another_reads_it() {
        for one in 0..=u8::MAX {
            for other in [b'0', b'9', b'a', b'F', b'g', b'/', b':', b'@', b'`', 0, 0x80, 0xff] {
                for text in [[one, other], [other, one]] {
                    let (mut ours, mut theirs) = ([0], [0]);
                    let read = from_hex(&text, &mut ours).is_some();
                    assert_eq!(read, hex::decode_to_slice(text, &mut theirs).is_ok(), "{text:?}");
                    assert!(!read || ours == theirs, "{text:?}");
                }
            }
        }
        assert!(from_hex(b"0", &mut [0]).is_none() && from_hex(b"000", &mut [0]).is_none());
    }

    #[test]
    fn a_list_is_read_by_key() {
        let list = Grammar::List { entries: ',', pair: '=', key: "v1".into() };
        let good = "a".repeat(64);
        assert_eq!(count(&list, &format!("t=1,v1={good},v0={good},v1={good}")), Ok(2));
        assert_eq!(count(&list, &format!("v1=junk,v1={good},,v1,=")), Ok(1));
        assert_eq!(count(&list, &format!("V1={good}, v1={good},v10={good}")), Err(Reason::Missing));
        assert_eq!(count(&list, "v1=junk"), Err(Reason::Malformed));
        assert_eq!(count(&list, ""), Err(Reason::Missing));
        assert_eq!(count(&list, &format!("v1={good},").repeat(MAX_SIGNATURES)), Ok(MAX_SIGNATURES));
        assert_eq!(count(&list, &format!("v1={good},").repeat(MAX_SIGNATURES + 1)), Err(Reason::Malformed));
        assert_eq!(list.only("t=1,v1=x", "t"), Ok("1"));
        assert_eq!(list.only("t=1,t=1", "t"), Err(Reason::Repeated));
        assert_eq!(list.only("v1=x", "t"), Err(Reason::Missing));
    }
}
