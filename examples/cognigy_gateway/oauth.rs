//! Tokens by OAuth 2.0 client credentials: RFC 6749 §4.4, the client authenticated by `Basic` (§2.3.1).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::{HeaderValue, Uri, header};
use http_body_util::Full;
use portcullis::{
    BoxError,
    bearer::{BearerLayer, Token},
};
use serde_json::value::RawValue;
use tower::{ServiceBuilder, ServiceExt, service_fn, timeout::error::Elapsed, util::BoxService};

use crate::{
    exchange::{Client, causes, exchange},
    json,
    settings::Settings,
};

/// The tokens that all calls of the downstream share.
pub(crate) type Tokens = BearerLayer<BoxService<(), Token, BoxError>>;

/// No answer with a token is longer.
const MAX_BYTES: usize = 64 * 1024;

/// The error codes that are logged: those of RFC 6749 §5.2, and what servers add for their own troubles. Another one could be
/// anything, a secret that is echoed included.
const CODES: [&str; 9] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
];

/// What a request for a token is made of.
#[derive(Clone)]
struct Grant {
    url: Uri,
    authorization: HeaderValue,
    form: Bytes,
}

/// The tokens of the configured client, if there is one.
pub(crate) fn tokens(settings: &Settings, http: Client) -> Option<Tokens> {
    let (url, id, secret) = settings.oauth_client()?;
    let grant = Grant {
        url: url.uri(),
        authorization: basic(id, secret.expose()),
        form: Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("scope", settings.oauth_scope())
            .finish()
            .into(),
    };
    let source = ServiceBuilder::new()
        .map_err(
            |error: BoxError| {
                if error.is::<Elapsed>() { "the token server did not answer in time".into() } else { error }
            },
        )
        .timeout(settings.downstream_timeout)
        .service(service_fn(move |()| fetch(http, grant.clone())));
    Some(BearerLayer::new(BoxService::new(source)))
}

/// Id and secret are encoded each by itself, so that a colon in one of them is none between them.
fn basic(id: &str, secret: &str) -> HeaderValue {
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
    let mut value = HeaderValue::from_str(&format!("Basic {credentials}")).expect("base64 can be a header");
    value.set_sensitive(true);
    value
}

/// One exchange with the token server. Redirects are not followed: the credentials are for this server alone.
async fn fetch(http: Client, grant: Grant) -> Result<Token, BoxError> {
    let request = http::Request::post(grant.url)
        .header(header::AUTHORIZATION, grant.authorization)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .body(Full::new(grant.form))?;
    let answer = exchange(http, MAX_BYTES).oneshot(request).await;
    let answer = answer.map_err(|error| format!("the token server cannot be reached: {}", causes(error.as_ref())))?;
    let (head, content) = answer.into_parts();
    let body = content.into_bytes();
    if head.status.is_success() {
        return Ok(token(&body)?);
    }
    let code = json::members(&body, ["error"]).and_then(|[code]| json::text(code?));
    let code = code
        .as_deref()
        .and_then(|code| CODES.into_iter().find(|known| *known == code))
        .unwrap_or("no known error code");
    Err(format!("the token server answered {}: {code}", head.status.as_u16()).into())
}

/// The token of an answer (§5.1), which is not shown where it is none.
fn token(answer: &[u8]) -> Result<Token, String> {
    let members = json::members(answer, ["access_token", "token_type", "expires_in"]);
    let Some([token, kind, expires_in]) = members else {
        return Err("the token server's answer is no JSON object".into());
    };
    // It is required, and some leave it out: then it is what was asked for.
    if !kind.is_none_or(|kind| json::text(kind).is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"))) {
        return Err("the token server's token is no bearer token".into());
    }
    let token = token.and_then(json::text).ok_or("the token server's answer holds no token")?;
    let token = Token::new(token).map_err(|error| format!("the token server's token cannot be used: {error}"))?;
    Ok(match expires_in.and_then(lifetime) {
        Some(lifetime) => token.expires_in(lifetime),
        None => token,
    })
}

/// Seconds, also as text. What makes no sense does not count as said.
fn lifetime(expires_in: &RawValue) -> Option<Duration> {
    let seconds = json::text(expires_in).unwrap_or_else(|| expires_in.get().to_owned()).trim().parse::<f64>().ok()?;
    let seconds = Some(seconds).filter(|seconds| seconds.is_finite() && *seconds > 0.0)?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_secret_are_encoded_before_they_are_joined() {
        // RFC 6749 §2.3.1 and its appendix B.
        let value = basic("a:b", "p ü%&+");
        let decoded = STANDARD.decode(value.to_str().unwrap().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(decoded, b"a%3Ab:p+%C3%BC%25%26%2B");
        assert!(value.is_sensitive());
    }

    #[test]
    fn a_lifetime_that_makes_no_sense_is_not_said() {
        let lifetime = |text: &'static str| lifetime(json::parse(text.as_bytes()).unwrap());
        for (text, seconds) in [("3600", 3600), ("\"3600\"", 3600), ("\" 60 \"", 60), ("3.6e3", 3600)] {
            assert_eq!(lifetime(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(lifetime("1e300"), Some(Duration::MAX));
        for text in ["0", "-1", "\"soon\"", "null", "[]", "{}", "true", "1e999", "\"inf\"", "\"NaN\"", "\"\""] {
            assert_eq!(lifetime(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_bearer_token_is_refused_without_being_shown() {
        for answer in [
            "",
            "token",
            "[]",
            r#"{"token_type":"bearer"}"#,
            r#"{"access_token":7,"token_type":"bearer"}"#,
            r#"{"access_token":"","token_type":"bearer"}"#,
            r#"{"access_token":"s3cret\n","token_type":"bearer"}"#,
            r#"{"access_token":"s3cret","token_type":"mac"}"#,
            r#"{"access_token":"s3cret","token_type":null}"#,
        ] {
            let error = token(answer.as_bytes()).unwrap_err();
            assert!(error.starts_with("the token server's") && !error.contains("s3cret"), "{answer}: {error}");
        }
        assert!(token(br#"{"access_token":"t","token_type":"BeArEr","expires_in":60}"#).is_ok());
    }
}
