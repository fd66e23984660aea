//! Schemes: where a provider puts its signature, how it is written, and what it is made over.

mod builder; // schemes from data
mod checks; // what none can be made of
mod grammar; // how the header is written
mod rfc3339; // dates
mod template; // what is signed
mod timestamp; // when, and how long ago

// One for each provider.
mod cognigy;
mod dropbox;
mod genesys;
mod github;
mod jambonz;
mod linear;
mod meta;
mod paddle;
mod shopify;
mod slack;
mod square;
mod standard_webhooks;
mod stripe;
mod twitch;
mod zoom;

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

pub use self::{
    builder::SchemeBuilder,
    grammar::Encoding,
    template::{Names, Segment, SignedContext},
    timestamp::{Timestamp, Unit},
};
use self::{grammar::Grammar, timestamp::Place};
use super::{
    KeyEncoding, Reason, Secret,
    few::Few,
    mac::{Hash, Tag},
};
use crate::{ConfigError, time::UnixTime};

/// How a provider signs: plain data, with profiles for many providers and a [builder](Self::builder) for all others.
///
/// A request carries the signature header once, and every other header that is signed once. The hash is the scheme's and
/// never the sender's choice.
///
/// ```
/// use std::time::Duration;
/// use portcullis::signature::{Scheme, Segment, Timestamp, Unit};
///
/// // Webflow's: hex of an HMAC-SHA256 over `TIME:BODY`, with the time in a header of its own, in milliseconds.
/// let webflow = Scheme::builder("webflow")
///     .header("x-webflow-signature")
///     .timestamp(Timestamp::header("x-webflow-timestamp").unit(Unit::Millis))
///     .signed([Segment::Timestamp, Segment::literal(":"), Segment::Body])
///     .build()?;
/// assert_eq!(webflow.name(), "webflow");
///
/// // ElevenLabs': a list, `t=TIME,v0=HEX`, over `TIME.BODY`, for half an hour.
/// let eleven_labs = Scheme::builder("eleven_labs")
///     .header("ElevenLabs-Signature")
///     .list(',', '=', "v0")
///     .timestamp(Timestamp::list_key("t").tolerance(Duration::from_secs(1800)))
///     .signed([Segment::Timestamp, Segment::literal("."), Segment::Body])
///     .build();
/// assert!(eleven_labs.is_ok());
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scheme {
    name: Arc<str>,
    header: Vec<HeaderName>,
    grammar: Grammar,
    encoding: Encoding,
    hash: Hash,
    /// What is signed before the body.
    prefix: Vec<Part>,
    timestamp: Option<Timestamp>,
    timestamp_headers: Vec<HeaderName>,
    /// Where the id is that stays the same when a message is sent again; among what is signed.
    replay_id: Option<Vec<HeaderName>>,
    key: KeyEncoding,
}

/// A [`Segment`] with its names parsed.
#[derive(Clone, Debug)]
enum Part {
    Literal(Cow<'static, [u8]>),
    Header(Vec<HeaderName>),
    Timestamp,
    Context,
}

/// What the headers of a request claim, beside the signatures.
pub(super) struct Claim<'h> {
    pub(super) timestamp: Option<UnixTime>,
    /// The timestamp as it was sent.
    time: &'h [u8],
    /// Which of the header's aliases was used.
    family: usize,
}

impl Claim<'_> {
    /// The message's id, where the scheme signs one.
    pub(super) fn replay_id<'h>(&self, scheme: &Scheme, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        headers.get(alias(scheme.replay_id.as_deref()?, self.family))
    }
}

impl Scheme {
    /// A scheme from data. `name` is what [`Verified::scheme`](super::Verified::scheme) will say.
    pub fn builder(name: impl Into<Arc<str>>) -> SchemeBuilder {
        SchemeBuilder::new(name.into())
    }

    /// The same with another tolerance, as [`Timestamp::tolerance`] has it; where no time is signed, nothing changes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::signature::Scheme;
    ///
    /// let _patient = Scheme::paddle().tolerance(Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.timestamp = self.timestamp.map(|timestamp| timestamp.tolerance(tolerance));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The secret that `text` stands for, as the provider writes its secrets.
    ///
    /// # Errors
    ///
    /// When `text` is not written so, or stands for nothing.
    pub fn secret(&self, text: &str) -> Result<Secret, ConfigError> {
        Secret::decode(text, self.key)
    }

    pub(super) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// How long at least a message has to be remembered so that no copy of it gets through: as long as the earliest and the
    /// latest moment are apart at which its timestamp is good. None where it is good at any.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        let tolerance = self.timestamp.as_ref()?.tolerance;
        // The edge is good, and a moment is judged in whole seconds where it is written so.
        (tolerance < Duration::MAX).then(|| tolerance.saturating_mul(2).saturating_add(Duration::from_secs(1)))
    }

    /// Whether the time matters to it.
    pub(super) const fn is_timed(&self) -> bool {
        self.timestamp.is_some()
    }

    pub(super) const fn hash(&self) -> Hash {
        self.hash
    }

    /// Whether `name` is a header that it has its signature in.
    pub(super) fn signs_in(&self, name: &HeaderName) -> bool {
        self.header.contains(name)
    }

    /// Whether the request has a signature header at all.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        self.header.iter().any(|name| headers.contains_key(name))
    }

    /// What the headers claim, judged as far as that goes without the body; the signatures are MACs.
    pub(super) fn read<'h>(
        &self,
        headers: &'h HeaderMap,
        now: UnixTime,
        signatures: &mut Few<Tag>,
    ) -> Result<Claim<'h>, Reason> {
        self.read_as(headers, now, signatures, |text| self.encoding.decode(text, self.hash))
    }

    /// The same for signatures of any length.
    pub(super) fn read_any<'h>(
        &self,
        headers: &'h HeaderMap,
        now: UnixTime,
        signatures: &mut Few<Vec<u8>>,
    ) -> Result<Claim<'h>, Reason> {
        self.read_as(headers, now, signatures, |text| self.encoding.bytes(text))
    }

    fn read_as<'h, T>(
        &self,
        headers: &'h HeaderMap,
        now: UnixTime,
        signatures: &mut Few<T>,
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Claim<'h>, Reason> {
        let (family, name) = self.family(headers)?;
        let value = only(headers, name)?;
        self.grammar.signatures(value, signatures, decode)?;
        let (time, timestamp) = match &self.timestamp {
            None => (&[][..], None),
            Some(timestamp) => {
                let time = match &timestamp.place {
                    Place::Header(_) => text(only(headers, alias(&self.timestamp_headers, family))?)?.as_bytes(),
                    Place::List(key) => self.grammar.only(value.as_bytes(), key)?,
                };
                (time, Some(timestamp.judge(time, now)?))
            }
        };
        Ok(Claim { timestamp, time, family })
    }

    /// Which of its headers a request has, which has to be one.
    fn family(&self, headers: &HeaderMap) -> Result<(usize, &HeaderName), Reason> {
        // There is one mostly, and whoever reads it sees whether it is there.
        if let [name] = &self.header[..] {
            return Ok((0, name));
        }
        let mut present = self.header.iter().enumerate().filter(|(_, name)| headers.contains_key(*name));
        let family = present.next().ok_or(Reason::Missing)?;
        if present.next().is_some() { Err(Reason::Repeated) } else { Ok(family) }
    }

    /// Feeds what is signed before the body.
    pub(super) fn feed(
        &self,
        claim: &Claim<'_>,
        headers: &HeaderMap,
        extensions: &Extensions,
        mut feed: impl FnMut(&[u8]),
    ) -> Result<(), Reason> {
        for (place, part) in self.prefix.iter().enumerate() {
            match part {
                Part::Literal(text) => feed(text),
                Part::Timestamp => feed(claim.time),
                Part::Context => feed(&extensions.get::<SignedContext>().ok_or(Reason::NoContext)?.0),
                Part::Header(names) => {
                    let value = only(headers, alias(names, claim.family))?.as_bytes();
                    let ambiguous = match self.prefix.get(place + 1) {
                        Some(Part::Literal(next)) => !ends_at(value, next),
                        // A number after a header's value is no scheme, so it is a date.
                        Some(Part::Timestamp) => !rfc3339::is_first_after(value, claim.time),
                        _ => false,
                    };
                    if value.is_empty() || ambiguous {
                        return Err(Reason::Malformed);
                    }
                    feed(value);
                }
            }
        }
        Ok(())
    }

    /// The headers that a sender adds: the timestamp's, where it has one, and the signature's. Nothing changes on an error.
    ///
    /// `mac` gets the claim to feed from, and returns the MAC.
    pub(super) fn write(
        &self,
        headers: &mut HeaderMap,
        now: UnixTime,
        mac: impl FnOnce(&Claim<'_>, &HeaderMap) -> Result<Tag, Reason>,
    ) -> Result<(), Reason> {
        let time = self.timestamp.as_ref().map(|timestamp| timestamp.print(now)).unwrap_or_default();
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Reason::Malformed);
        let claim = Claim { timestamp: None, time: time.as_bytes(), family: 0 };
        let tag = mac(&claim, headers)?;
        let listed = match &self.timestamp {
            Some(Timestamp { place: Place::List(key), .. }) => Some((key.as_str(), time.as_str())),
            _ => None,
        };
        let signature = self.encoding.encode(tag.as_slice(self.hash));
        let mut signature = value(&self.grammar.print(&signature, listed))?;
        signature.set_sensitive(true);
        // A request that is signed under two names is refused.
        for name in self.header.iter().chain(&self.timestamp_headers) {
            headers.remove(name);
        }
        if let Some(name) = self.timestamp_headers.first() {
            headers.insert(name, value(&time)?);
        }
        if let Some(name) = self.header.first() {
            headers.insert(name, signature);
        }
        Ok(())
    }
}

/// Whether `next` after `value` is where it first occurs, also across the seam: `a:` before `::` is `a` before `::` and
/// one more colon, so a byte could wander from the header into the body.
fn ends_at(value: &[u8], next: &[u8]) -> bool {
    !(0..value.len()).any(|place| {
        let rest = &value[place..];
        // What is left of `next` behind the seam, where it reaches over that, would be the beginning of `next` again.
        rest.starts_with(next) || next.strip_prefix(rest).is_some_and(|behind| next.starts_with(behind))
    })
}

/// The name that goes with the signature header's alias.
fn alias(names: &[HeaderName], family: usize) -> &HeaderName {
    names.get(family).unwrap_or(&names[0])
}

/// The only value of a header.
///
/// All names are passed along, which is faster than to hash one, byte by byte, unless there are very many.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h HeaderValue, Reason> {
    let mut only = None;
    for (other, value) in headers {
        if other == name && only.replace(value).is_some() {
            return Err(Reason::Repeated);
        }
    }
    only.ok_or(Reason::Missing)
}

pub(super) fn text(value: &HeaderValue) -> Result<&str, Reason> {
    value.to_str().map_err(|_| Reason::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All texts of at most `length` letters, of two.
    fn texts(length: usize) -> Vec<Vec<u8>> {
        let mut texts = vec![Vec::new()];
        for place in 0.. {
            let Some(text) = texts.get(place).filter(|text: &&Vec<u8>| text.len() < length).cloned() else { break };
            texts.extend([b"a", b":"].map(|letter| [&text[..], letter].concat()));
        }
        texts
    }

    #[test]
    fn a_text_ends_where_what_follows_first_occurs() {
        assert_eq!(texts(4).len(), 31);
        for value in texts(4) {
            for next in texts(4).into_iter().filter(|next| !next.is_empty()) {
                let joined = [&value[..], &next].concat();
                let first = joined.windows(next.len()).position(|window| window == next);
                assert_eq!(ends_at(&value, &next), first == Some(value.len()), "{value:?} {next:?}");
            }
        }
    }
}
