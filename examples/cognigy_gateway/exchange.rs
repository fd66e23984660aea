//! One HTTP exchange: a request, and its whole answer within a bound.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use portcullis::BoxError;
use rustls::ClientConfig;
use serde_json::value::RawValue;
use tower::{Service, service_fn};

use crate::{json, trace::TraceContext};

pub(crate) type Request = http::Request<Full<Bytes>>;
pub(crate) type Answer = Response<Content>;
/// A pool of connections over HTTP and HTTPS, of which there are a few at most, for as long as the gateway runs. A clone of
/// hyper-util's client costs more than a reference to one.
pub(crate) type Client = &'static legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// What makes a POST safe to repeat.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How much of an answer may come of which little is read, or nothing.
pub(crate) const SHORT: usize = 64 * 1024;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Content {
    Whole(Bytes),
    TooLong,
}

impl Content {
    /// The JSON as it was written, if it is that and within its bound; nothing but white space is `null`.
    pub(crate) fn json(&self) -> Option<&str> {
        match self {
            Self::Whole(body) if body.trim_ascii().is_empty() => Some("null"),
            Self::Whole(body) => json::parse(body).map(RawValue::get),
            Self::TooLong => None,
        }
    }

    /// The bytes, for whom one that is too long is as good as none.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Whole(body) => body,
            Self::TooLong => Bytes::new(),
        }
    }
}

pub(crate) fn client(tls: ClientConfig) -> Client {
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let client = legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
    Box::leak(Box::new(client))
}

/// A POST of JSON, with the key that makes it safe to repeat.
pub(crate) fn post(url: &Uri, body: Bytes, key: HeaderValue, trace: TraceContext) -> Request {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    // A builder would move the whole head with each header.
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    request.uri_mut().clone_from(url);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::ACCEPT, JSON);
    headers.insert(IDEMPOTENCY_KEY, key);
    trace.put(headers);
    request
}

/// The service that layers are put around. Redirects are not followed.
pub(crate) fn exchange(
    client: Client,
    max_bytes: usize,
) -> impl Service<Request, Response = Answer, Error = BoxError, Future: Send> + Clone + Send + Sync + 'static {
    service_fn(move |request| async move {
        let (head, body) = client.request(request).await?.into_parts();
        let content = match Limited::new(body, max_bytes).collect().await {
            Ok(body) => Content::Whole(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Content::TooLong,
            Err(error) => return Err(error),
        };
        Ok(Response::from_parts(head, content))
    })
}

/// An error and what lies behind it, on one line.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_is_null_and_json_stays_as_it_is() {
        let json = |body: &'static str| Content::Whole(body.into()).json().map(str::to_owned);
        assert_eq!(json("").as_deref(), Some("null"));
        assert_eq!(json(" \r\n\t").as_deref(), Some("null"));
        assert_eq!(json(" {\"n\": 1.0} ").as_deref(), Some("{\"n\": 1.0}"));
        assert_eq!(json("<html>"), None);
        assert_eq!(Content::TooLong.json(), None);
    }
}
