//! How a signature header is written.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::signature::{
    MAX_SIGNATURES, Reason,
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
    /// The MAC that `text` stands for, if it is one of `hash`'s length.
    fn decode(self, text: &str, hash: Hash) -> Option<Tag> {
        // base64's decoder asks for room by whole groups of three bytes.
        let mut buffer = [0; Tag::MAX + 2];
        let length = match self {
            Self::Hex => hex::decode_to_slice(text, &mut buffer[..hash.len()]).ok().map(|()| hash.len())?,
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

impl Grammar {
    /// The signatures in `value`: at least one, and at most [`MAX_SIGNATURES`].
    pub(super) fn signatures(&self, value: &str, encoding: Encoding, hash: Hash) -> Result<Vec<Tag>, Reason> {
        let one = |text: &str| encoding.decode(text, hash).map(|tag| vec![tag]).ok_or(Reason::Malformed);
        match self {
            Self::Bare => one(value),
            Self::Prefix(prefix) => one(value.strip_prefix(prefix.as_str()).ok_or(Reason::Malformed)?),
            Self::List { key, .. } => {
                let mut seen = 0;
                let mut tags = Vec::new();
                for text in self.values(value, key) {
                    seen += 1;
                    if seen > MAX_SIGNATURES {
                        return Err(Reason::Malformed);
                    }
                    // One that cannot be read is passed over, as providers' own libraries do: it may be of a later kind.
                    tags.extend(encoding.decode(text, hash));
                }
                match (seen, tags.is_empty()) {
                    (0, _) => Err(Reason::Missing),
                    (_, true) => Err(Reason::Malformed),
                    (_, false) => Ok(tags),
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
