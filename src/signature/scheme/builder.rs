//! Schemes from data.

use std::sync::Arc;

use http::HeaderName;

use super::{
    Encoding, Grammar, Names, Part, Scheme, Segment, Timestamp,
    checks::{check_grammar, check_no_signature, check_once, check_seams, names},
    timestamp::Place,
};
use crate::{
    ConfigError,
    signature::{KeyEncoding, mac::Hash},
};

/// Makes a [`Scheme`]; see [`Scheme::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SchemeBuilder {
    name: Arc<str>,
    header: Names,
    grammar: Grammar,
    encoding: Encoding,
    hash: Hash,
    signed: Vec<Segment>,
    timestamp: Option<Timestamp>,
    replay_id: Option<Names>,
    key: KeyEncoding,
}

impl SchemeBuilder {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            header: Names(Vec::new()),
            grammar: Grammar::Bare,
            encoding: Encoding::default(),
            hash: Hash::default(),
            signed: vec![Segment::Body],
            timestamp: None,
            replay_id: None,
            key: KeyEncoding::default(),
        }
    }

    /// The header that holds the signature; required. Of several aliases a request may carry one.
    pub fn header(mut self, names: impl Into<Names>) -> Self {
        self.header = names.into();
        self
    }

    /// The signature follows a fixed text: `sha256=…`. Default: the header is the signature.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.grammar = Grammar::Prefix(prefix.into());
        self
    }

    /// The header is a list of pairs, and each value under `key` is a signature: `list(',', '=', "v1")` reads
    /// `t=…,v1=…,v1=…`. Other keys are passed over.
    pub fn list(mut self, entries: char, pair: char, key: impl Into<String>) -> Self {
        self.grammar = Grammar::List { entries, pair, key: key.into() };
        self
    }

    /// The header is a list of versioned signatures, of which those of `version` count: `v1,… v1,…`. Short for
    /// `list(' ', ',', version)`.
    pub fn versioned(self, version: impl Into<String>) -> Self {
        self.list(' ', ',', version)
    }

    /// How the signature is written. Default: hex.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The hash function. Default: SHA-256. The sender never chooses it.
    pub fn hash(mut self, hash: Hash) -> Self {
        self.hash = hash;
        self
    }

    /// What is signed, in order. Default: the body alone.
    pub fn signed(mut self, segments: impl IntoIterator<Item = Segment>) -> Self {
        self.signed = segments.into_iter().collect();
        self
    }

    /// When it was signed; has to be among what is [`signed`](Self::signed). Default: the scheme does not say.
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The header whose value stays the same when a message is sent again, and is no other message's; has to be among what
    /// is [`signed`](Self::signed). Default: a message is known by all that is signed.
    ///
    /// An id in the body, or in a header that is not signed, is none: whoever repeats a message could change the latter.
    pub fn replay_id(mut self, names: impl Into<Names>) -> Self {
        self.replay_id = Some(names.into());
        self
    }

    /// How the provider writes its secrets, for [`Scheme::secret`]. Default: as text.
    pub fn key_encoding(mut self, key: KeyEncoding) -> Self {
        self.key = key;
        self
    }

    /// The scheme.
    ///
    /// # Errors
    ///
    /// When a setting cannot be used, or nothing could ever be verified with it; the error names it.
    pub fn build(self) -> Result<Scheme, ConfigError> {
        let header = names(&self.header, "header")?;
        let families = header.len();
        let family = |names: Vec<HeaderName>, setting| match names.len() {
            count if count == 1 || count == families => Ok(names),
            count => Err(ConfigError::new(setting, "one header, or as many as the signature has", count)),
        };

        check_once(&header)?;
        check_grammar(&self.grammar, self.timestamp.as_ref())?;

        let Some((Segment::Body, before)) = self.signed.split_last() else {
            return Err(ConfigError::new("signed", "segments that end with the body", "not"));
        };
        let mut prefix = Vec::with_capacity(before.len());
        for segment in before {
            prefix.push(match segment {
                Segment::Literal(text) => Part::Literal(text.clone()),
                Segment::Header(aliases) => Part::Header(family(names(aliases, "signed")?, "signed")?),
                Segment::Timestamp => Part::Timestamp,
                Segment::Context => Part::Context,
                Segment::Body => return Err(ConfigError::new("signed", "segments that hold the body once", "not")),
            });
        }

        let signs_time = prefix.iter().any(|part| matches!(part, Part::Timestamp));
        let timestamp_headers = match &self.timestamp {
            None if signs_time => return Err(ConfigError::new("timestamp", "set, since it is signed", "not")),
            Some(_) if !signs_time => {
                return Err(ConfigError::new("timestamp", "signed, since it proves nothing else", "not"));
            }
            Some(Timestamp { place: Place::Header(aliases), .. }) => family(names(aliases, "timestamp")?, "timestamp")?,
            Some(Timestamp { place: Place::List(_), .. }) if !matches!(self.grammar, Grammar::List { .. }) => {
                return Err(ConfigError::new(
                    "timestamp",
                    "in a header, since the signature is in no list",
                    "in a list",
                ));
            }
            _ => Vec::new(),
        };

        let also = prefix.iter().filter_map(|part| if let Part::Header(names) = part { Some(names) } else { None });
        check_no_signature(&header, also.flatten().chain(&timestamp_headers))?;

        let replay_id = self.replay_id.as_ref().map(|id| names(id, "replay_id")).transpose()?;
        if let Some(id) = &replay_id
            && !prefix.iter().any(|part| matches!(part, Part::Header(names) if names == id))
        {
            return Err(ConfigError::new("replay_id", "a header that is signed", "not"));
        }

        check_seams(&self.signed, self.timestamp.as_ref())?;

        Ok(Scheme {
            name: self.name,
            header,
            grammar: self.grammar,
            encoding: self.encoding,
            hash: self.hash,
            prefix,
            timestamp: self.timestamp,
            timestamp_headers,
            replay_id,
            key: self.key,
        })
    }
}

impl SchemeBuilder {
    /// A scheme of this crate's own, each of which is built by its example and by the tests.
    pub(super) fn profile(self) -> Scheme {
        self.build().expect("a profile's settings are good")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Unit, *};

    #[track_caller]
    fn refused(builder: SchemeBuilder, message: &str) {
        assert_eq!(builder.build().unwrap_err().to_string(), message);
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_named() {
        let new = || Scheme::builder("custom").header("x-signature");
        let timed = [Segment::Timestamp, Segment::literal("."), Segment::Body];
        let families = || Scheme::builder("custom").header(["a", "b"]);
        refused(Scheme::builder("custom"), "header must be the name of a header, but is empty");
        refused(
            Scheme::builder("custom").header("x signature"),
            "header must be the name of a header, but is \"x signature\"",
        );
        refused(new().signed([]), "signed must be segments that end with the body, but is not");
        refused(new().signed([Segment::literal(".")]), "signed must be segments that end with the body, but is not");
        refused(
            new().signed([Segment::Body, Segment::Body]),
            "signed must be segments that hold the body once, but is not",
        );
        refused(
            new().signed([Segment::header("é"), Segment::Body]),
            "signed must be the name of a header, but is \"é\"",
        );
        refused(new().signed(timed.clone()), "timestamp must be set, since it is signed, but is not");
        refused(
            new().timestamp(Timestamp::header("x-time")),
            "timestamp must be signed, since it proves nothing else, but is not",
        );
        refused(
            new().timestamp(Timestamp::list_key("t")).signed(timed.clone()),
            "timestamp must be in a header, since the signature is in no list, but is in a list",
        );
        refused(
            families().timestamp(Timestamp::header(["c", "d", "e"])).signed(timed.clone()),
            "timestamp must be one header, or as many as the signature has, but is 3",
        );
        refused(
            new().signed([Segment::header("x-id"), Segment::Body]),
            "signed must be segments that a literal keeps apart, but is without it",
        );
        let followed = |unit, text: &str| {
            let signed = [Segment::Timestamp, Segment::literal(text), Segment::Body];
            new().timestamp(Timestamp::header("x-time").unit(unit)).signed(signed)
        };
        for (unit, text) in [(Unit::Seconds, "0"), (Unit::Seconds, "9."), (Unit::Millis, "5")] {
            let message = "signed must be segments without a digit after a number, but is with one";
            refused(followed(unit, text), message);
        }
        assert!(followed(Unit::Seconds, ".0").build().is_ok() && followed(Unit::Rfc3339, "0").build().is_ok());
        let id = [Segment::header("x-id"), Segment::literal("."), Segment::Body];
        refused(new().replay_id("x-id"), "replay_id must be a header that is signed, but is not");
        refused(new().signed(id.clone()).replay_id("x-other"), "replay_id must be a header that is signed, but is not");
        assert!(new().signed(id).replay_id("X-Id").build().is_ok());
        for (entries, pair) in [(',', ','), ('=', ':'), ('a', '='), (',', '+'), ('/', '=')] {
            let message =
                format!("list must be separated by what cannot occur in a signature, but is {entries:?} and {pair:?}");
            refused(new().list(entries, pair, "v1"), &message);
        }
        refused(new().list(',', '=', "a,b"), "list must be under a key without separators, but is \"a,b\"");
        refused(new().versioned(""), "list must be under a key without separators, but is \"\"");

        refused(
            Scheme::builder("custom").header(["a", "A"]),
            "header must be one that differs from its aliases, but is \"a\" twice",
        );
        refused(new().prefix(" sha256="), "prefix must be text that a header can begin with, but is \" sha256=\"");
        refused(new().prefix("sig\u{e9}"), "prefix must be text that a header can begin with, but is \"sig\u{e9}\"");
        refused(new().list('\n', '=', "v1"), "list must be separated by what a header can hold, but is '\\n' and '='");
        refused(
            new().list(',', '\u{e9}', "v1"),
            "list must be separated by what a header can hold, but is ',' and '\u{e9}'",
        );
        refused(new().list(',', '=', "\tv1"), "list must be under a key without separators, but is \"\\tv1\"");
        let listed = |key: &str, unit, entries| {
            let timestamp = Timestamp::list_key(key).unit(unit);
            new().list(entries, '=', "v1").timestamp(timestamp).signed(timed.clone())
        };
        refused(listed("v1", Unit::Seconds, ','), "timestamp must be under a key of its own, but is \"v1\"");
        refused(listed("a,b", Unit::Seconds, ','), "timestamp must be under a key without separators, but is \"a,b\"");
        refused(listed("", Unit::Seconds, ','), "timestamp must be under a key without separators, but is \"\"");
        refused(listed("t", Unit::Rfc3339, ':'), "list must be separated by what no date holds, but is ':'");
        assert!(listed("t", Unit::Seconds, ':').build().is_ok() && listed("t", Unit::Rfc3339, ',').build().is_ok());
        refused(
            new().signed([Segment::header("X-Signature"), Segment::literal("."), Segment::Body]),
            "signed must be without the signature, but is with \"x-signature\"",
        );
        refused(
            new().timestamp(Timestamp::header("x-signature")).signed(timed.clone()),
            "signed must be without the signature, but is with \"x-signature\"",
        );

        assert!(new().build().is_ok());
        assert!(new().prefix("HMAC ").build().is_ok());
        assert!(families().timestamp(Timestamp::header("c")).signed(timed).build().is_ok());
    }
}
