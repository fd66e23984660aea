//! Shared credentials: the secret itself, in a header.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use zeroize::Zeroizing;

use super::{
    Reason,
    mac::{Hash, Mac, Tag},
    scheme::only,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Where credentials are.
pub(super) const HEADERS: [HeaderName; 2] = [AUTHORIZATION, API_KEY];

/// Keyed anew by each process.
static BLIND: LazyLock<Mac> = LazyLock::new(|| Mac::new(Hash::Sha256, &rand::random::<[u8; 32]>()));

/// The MAC of `secret` under a key of this process: what is compared in place of it, so that neither its length nor its
/// bytes show in the time that takes.
pub(super) fn blind(secret: &[u8]) -> Tag {
    let mut mac = BLIND.begin();
    mac.update(secret);
    mac.finish()
}

/// Marks what may be a secret, so that whoever prints the headers further in does not print it.
pub(super) fn hide(headers: &mut HeaderMap) {
    for name in HEADERS {
        if let Some(value) = headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
}

/// The blinded credentials of a request: of `Authorization` and of `X-API-Key`, where it has them.
pub(super) fn read(headers: &HeaderMap) -> Result<[Option<Tag>; 2], Reason> {
    let present = |name| match only(headers, name) {
        Err(Reason::Missing) => Ok(None),
        value => value.map(Some),
    };
    // Both are looked at before either is judged: a repeated one fails whatever the other holds.
    let (authorization, api_key) = (present(&AUTHORIZATION)?, present(&API_KEY)?);
    Ok([
        authorization.map(|value| authorized(value.as_bytes())).transpose()?,
        api_key.map(|value| blind(value.as_bytes())),
    ])
}

/// `Bearer SECRET`, `ApiKey SECRET`, or `Basic` with the secret as the password.
fn authorized(value: &[u8]) -> Result<Tag, Reason> {
    let space = value.iter().position(|byte| *byte == b' ').ok_or(Reason::Malformed)?;
    let (scheme, token) = value.split_at(space);
    let token = token.trim_ascii_start();
    if scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"apikey") {
        return Ok(blind(token));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Err(Reason::Malformed);
    }
    let pair = Zeroizing::new(STANDARD.decode(token).map_err(|_| Reason::Malformed)?);
    // A user name holds no colon, so the first one ends it (RFC 7617, section 2).
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(Reason::Malformed)?;
    Ok(blind(&pair[colon + 1..]))
}
