//! What a scheme cannot be made of.

use http::HeaderName;

use super::{Grammar, Names, Segment, Timestamp, Unit, timestamp::Place};
use crate::ConfigError;

pub(super) fn names(names: &Names, setting: &'static str) -> Result<Vec<HeaderName>, ConfigError> {
    if names.0.is_empty() {
        return Err(ConfigError::new(setting, "the name of a header", "empty"));
    }
    let parse = |name: &String| {
        let unreadable = |_| ConfigError::new(setting, "the name of a header", format_args!("{name:?}"));
        HeaderName::try_from(name.as_str()).map_err(unreadable)
    };
    names.0.iter().map(parse).collect()
}

/// What is signed has to fall into its pieces in one way only, or bytes could wander from a header into the body under the
/// same signature.
pub(super) fn check_seams(signed: &[Segment], timestamp: Option<&Timestamp>) -> Result<(), ConfigError> {
    let dated = timestamp.is_some_and(|timestamp| timestamp.unit == Unit::Rfc3339);
    for (place, segment) in signed.iter().enumerate() {
        let apart = match (segment, signed.get(place + 1)) {
            (Segment::Literal(text), _) => !text.is_empty(),
            // A date says itself where it ends, and each message is looked at for whether it could begin earlier.
            (Segment::Header(_), Some(Segment::Timestamp)) | (Segment::Timestamp, _) if dated => true,
            (Segment::Header(_) | Segment::Timestamp, next) => matches!(next, Some(Segment::Literal(_))),
            (Segment::Context | Segment::Body, _) => true,
        };
        if !apart {
            return Err(ConfigError::new("signed", "segments that a literal keeps apart", "without it"));
        }
        // A number ends where something else than a digit follows.
        if let (Segment::Timestamp, Some(Segment::Literal(text)), false) = (segment, signed.get(place + 1), dated)
            && text.first().is_some_and(u8::is_ascii_digit)
        {
            return Err(ConfigError::new("signed", "segments without a digit after a number", "with one"));
        }
    }
    Ok(())
}

/// Aliases are told apart by their names.
pub(super) fn check_once(names: &[HeaderName]) -> Result<(), ConfigError> {
    match names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
        None => Ok(()),
        Some((_, name)) => {
            let twice = format_args!("{:?} twice", name.as_str()).to_string();
            Err(ConfigError::new("header", "one that differs from its aliases", twice))
        }
    }
}

/// A signature cannot be made over itself, nor be a timestamp.
pub(super) fn check_no_signature<'n>(
    signature: &[HeaderName],
    mut others: impl Iterator<Item = &'n HeaderName>,
) -> Result<(), ConfigError> {
    match others.find(|name| signature.contains(name)) {
        None => Ok(()),
        Some(name) => {
            Err(ConfigError::new("signed", "without the signature", format_args!("with {:?}", name.as_str())))
        }
    }
}

/// What can be written into a header, and read out of it in one way.
pub(super) fn check_grammar(grammar: &Grammar, timestamp: Option<&Timestamp>) -> Result<(), ConfigError> {
    match grammar {
        Grammar::Bare => Ok(()),
        // A header's outer white space is none of it.
        Grammar::Prefix(prefix) if !is_text(prefix) || prefix.starts_with(' ') => {
            Err(ConfigError::new("prefix", "text that a header can begin with", format_args!("{prefix:?}")))
        }
        Grammar::Prefix(_) => Ok(()),
        Grammar::List { entries, pair, key } => {
            check_separators(*entries, *pair)?;
            check_key("list", *entries, *pair, key)?;
            match timestamp {
                Some(Timestamp { place: Place::List(time), .. }) if time == key => {
                    Err(ConfigError::new("timestamp", "under a key of its own", format_args!("{time:?}")))
                }
                Some(Timestamp { place: Place::List(_), unit: Unit::Rfc3339, .. }) if "-:.".contains(*entries) => {
                    Err(ConfigError::new("list", "separated by what no date holds", format_args!("{entries:?}")))
                }
                Some(Timestamp { place: Place::List(time), .. }) => check_key("timestamp", *entries, *pair, time),
                _ => Ok(()),
            }
        }
    }
}

/// Separators must not occur in what they separate, or a list could be read in two ways.
fn check_separators(entries: char, pair: char) -> Result<(), ConfigError> {
    let refused = |rule| Err(ConfigError::new("list", rule, format_args!("{entries:?} and {pair:?}")));
    let in_encodings = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    if entries == pair || entries == '=' || in_encodings(entries) || in_encodings(pair) {
        return refused("separated by what cannot occur in a signature");
    }
    if !is_visible(entries) || !is_visible(pair) {
        return refused("separated by what a header can hold");
    }
    Ok(())
}

fn check_key(setting: &'static str, entries: char, pair: char, key: &str) -> Result<(), ConfigError> {
    if key.is_empty() || key.contains([entries, pair]) || !is_text(key) {
        return Err(ConfigError::new(setting, "under a key without separators", format_args!("{key:?}")));
    }
    Ok(())
}

fn is_text(text: &str) -> bool {
    text.chars().all(is_visible)
}

/// Whether it can be read out of a header's value as text.
const fn is_visible(c: char) -> bool {
    c.is_ascii_graphic() || c == ' '
}
