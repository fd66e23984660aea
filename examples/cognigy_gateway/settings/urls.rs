//! Settings that are URLs.

use std::str::FromStr;

use http::Uri;

/// Reads an absolute URL, which may hold a token: an error does not repeat it.
pub(super) fn endpoint(text: &str) -> Result<Uri, String> {
    let bad = "must be a URL that begins with http:// or https://, without credentials before its host";
    http_url(text, bad, bad)
}

/// Reads an `http` or `https` URL with a host and no credentials before it, or says what it is not.
fn http_url(text: &str, not_http: &str, with_credentials: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("no URL: {error}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => Err(with_credentials.into()),
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(not_http.into()),
    }
}

/// Reads the base URL of a collector; the specification takes an empty one as none.
pub(super) fn collector(text: &str) -> Result<String, String> {
    match endpoint(text) {
        Ok(uri) if uri.query().is_some() => Err("a base URL has no query".into()),
        Err(error) if !text.is_empty() => Err(error),
        _ => Ok(text.to_owned()),
    }
}

/// An `http` or `https` URL that paths are appended to.
#[derive(Clone, Debug)]
pub(crate) struct BaseUrl(String);

impl BaseUrl {
    pub(super) fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// The URL of `path`, which begins with a slash and holds nothing that has to be escaped.
    pub(crate) fn join(&self, path: &str) -> Uri {
        format!("{}{path}", self.0).parse().expect("a base URL and a plain path make a URL")
    }
}

impl FromStr for BaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri = http_url(
            text,
            "a base URL begins with http:// or https://",
            "credentials belong into DOWNSTREAM_BEARER_TOKEN, not into the URL",
        )?;
        if uri.query().is_some() {
            return Err("a base URL has no query".into());
        }
        // There is no fragment: http's type drops it.
        Ok(Self(uri.to_string().trim_end_matches('/').to_owned()))
    }
}

/// The `http` or `https` URL of a token server, with its path and its query.
#[derive(Clone, Debug)]
pub(crate) struct TokenUrl(Uri);

impl TokenUrl {
    pub(crate) fn uri(&self) -> Uri {
        self.0.clone()
    }
}

impl FromStr for TokenUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        http_url(
            text,
            "the URL of a token server begins with http:// or https://",
            "credentials belong into OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET, not into the URL",
        )
        .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_keeps_its_path() {
        let join = |base: &str| base.parse::<BaseUrl>().unwrap().join("/v2/health").to_string();
        assert_eq!(join("http://api.example"), "http://api.example/v2/health");
        assert_eq!(join("https://api.example:8443/crm/"), "https://api.example:8443/crm/v2/health");
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for text in
            ["", "api.example", "/path", "ftp://api.example", "http://", "http://user:pw@api.example", "http://a/?q=1"]
        {
            assert!(text.parse::<BaseUrl>().is_err(), "{text}");
        }
    }
}
