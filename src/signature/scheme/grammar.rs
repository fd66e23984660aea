//! How a signature header is written.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;

use super::text;

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
    pub(super) fn bytes(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => STANDARD.decode(text).ok(),
        }
    }

    /// The MAC that `text` stands for, if it is one of `hash`'s length.
    pub(super) fn decode(self, text: &[u8], hash: Hash) -> Option<Tag> {
        match self {
            Self::Hex => match hash {
                Hash::Sha256 => from_hex::<32>(text).map(|bytes| Tag::new(&bytes)),
                Hash::Sha512 => from_hex::<64>(text).map(|bytes| Tag::new(&bytes)),
            },
            Self::Base64 => {
                // The decoder asks for room by whole groups of three bytes.
                let mut buffer = [0; Tag::MAX + 2];
                let length = STANDARD.decode_slice(text, &mut buffer).ok()?;
                (length == hash.len()).then(|| Tag::new(&buffer[..length]))
            }
        }
    }

    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
        }
    }
}

/// The `N` bytes that hex of either case stands for. Most requests have 64 digits of it, and `hex` takes ten times as long.
fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, odd) = text.as_chunks::<2>();
    let pairs: &[[u8; 2]; N] = pairs.try_into().ok().filter(|_| odd.is_empty())?;
    // Without a branch or a table, and so by many digits at once.
    let mut digits = *pairs;
    digits.as_flattened_mut().iter_mut().for_each(|digit| *digit = from_digit(*digit));
    let wrong = digits.as_flattened().iter().fold(0, |wrong, digit| wrong | digit);
    let bytes = digits.map(|pair| {
        let pair = u16::from_be_bytes(pair);
        (pair >> 4 | pair).to_be_bytes()[1]
    });
    (wrong <= 0xf).then_some(bytes)
}

/// What a hex digit stands for, and more than that can be for all that is none.
const fn from_digit(text: u8) -> u8 {
    let (number, letter) = (text.wrapping_sub(b'0'), (text | 0x20).wrapping_sub(b'a'));
    let none = if letter < 6 { letter + 10 } else { 0xff };
    if number < 10 { number } else { none }
}

/// Where `byte` is first, or the end: by sixteen bytes at once, since what is between is long.
fn find(text: &[u8], byte: u8) -> usize {
    let (chunks, _) = text.as_chunks::<16>();
    let is_in = |chunk: &&[u8; 16]| chunk.iter().fold(false, |found, other| found | (*other == byte));
    let passed = 16 * chunks.iter().take_while(|chunk| !is_in(chunk)).count();
    passed + text[passed..].iter().position(|other| *other == byte).unwrap_or(text.len() - passed)
}

impl Grammar {
    /// Adds the signatures in `value`: at least one, and at most [`MAX_SIGNATURES`].
    pub(super) fn signatures<T>(
        &self,
        value: &HeaderValue,
        signatures: &mut Few<T>,
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<(), Reason> {
        // No encoding takes what is no text.
        let mut one = |text: &[u8]| decode(text).map(|one| *signatures = Few::one(one)).ok_or(Reason::Malformed);
        match self {
            Self::Bare => one(value.as_bytes()),
            Self::Prefix(prefix) => one(value.as_bytes().strip_prefix(prefix.as_bytes()).ok_or(Reason::Malformed)?),
            Self::List { key, .. } => {
                let mut seen = 0;
                for text in self.values(text(value)?.as_bytes(), key) {
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
                    (_, false) => Ok(()),
                }
            }
        }
    }

    /// The one value under `key` in a list.
    pub(super) fn only<'v>(&self, value: &'v [u8], key: &str) -> Result<&'v [u8], Reason> {
        let mut values = self.values(value, key);
        match (values.next(), values.next()) {
            (None, _) => Err(Reason::Missing),
            (Some(_), Some(_)) => Err(Reason::Repeated),
            (Some(only), None) => Ok(only),
        }
    }

    fn values<'v>(&self, value: &'v [u8], key: &str) -> impl Iterator<Item = &'v [u8]> {
        // No other grammar has keys, and none separates by what is not ASCII; a line feed occurs in no header.
        let byte = |separator: char| u8::try_from(separator).unwrap_or(b'\n');
        let (entries, pair) = match self {
            Self::List { entries, pair, .. } => (byte(*entries), byte(*pair)),
            Self::Bare | Self::Prefix(_) => (b'\n', b'\n'),
        };
        let mut left = Some(value);
        let entries = std::iter::from_fn(move || {
            let value = left?;
            let end = find(value, entries);
            left = value.get(end + 1..);
            Some(&value[..end])
        });
        // No key holds a separator, so the first one in an entry is behind its key.
        entries.filter_map(move |entry| match entry.strip_prefix(key.as_bytes())?.split_first()? {
            (next, value) if *next == pair => Some(value),
            _ => None,
        })
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
        let value = HeaderValue::from_str(value).unwrap();
        let mut tags = Few::none();
        grammar.signatures(&value, &mut tags, |text| Encoding::Hex.decode(text, Hash::Sha256))?;
        Ok(tags.as_slice().len())
    }

    #[test]
    fn an_encoding_is_read_in_its_canonical_form_and_length_alone() {
        let decode = |encoding: Encoding, text: &str| encoding.decode(text.as_bytes(), Hash::Sha256).is_some();
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
                    let mut theirs = [0];
                    let theirs = hex::decode_to_slice(text, &mut theirs).is_ok().then_some(theirs);
                    assert_eq!(from_hex(&text), theirs, "{text:?}");
                }
            }
        }
        assert!(from_hex::<1>(b"0").is_none() && from_hex::<1>(b"000").is_none() && from_hex::<1>(b"0000").is_none());
    }

    #[test]
    fn a_byte_is_found_wherever_it_is() {
        for length in 0..50 {
            let mut text = vec![b'x'; length];
            assert_eq!(find(&text, b','), length);
            for place in (0..length).rev() {
                text[place] = b',';
                assert_eq!(find(&text, b','), place, "of {length}");
            }
        }
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
        let no_text = HeaderValue::from_bytes(&[format!("v1={good},v0=").as_bytes(), &[0xe9]].concat()).unwrap();
        let decode = |text: &[u8]| Encoding::Hex.decode(text, Hash::Sha256);
        assert_eq!(list.signatures(&no_text, &mut Few::none(), decode), Err(Reason::Malformed));
        assert_eq!(list.only(b"t=1,v1=x", "t"), Ok(&b"1"[..]));
        assert_eq!(list.only(b"t=1,t=1", "t"), Err(Reason::Repeated));
        assert_eq!(list.only(b"v1=x", "t"), Err(Reason::Missing));
    }
}
