//! The outcome of an HTTP response.

use std::time::Duration;

use http::{Response, StatusCode};

use super::{AsRejection, Classify, Outcome, Retryable, retry_after};
use crate::time::UnixTime;

/// The outcome of an HTTP response, by its status.
///
/// | result | [`Outcome`] | worth a retry |
/// | --- | --- | --- |
/// | 1xx, 2xx, 3xx | success | no |
/// | 401 | failure: no call can succeed until the credentials are mended | no |
/// | 408 | failure | yes |
/// | 425, 429 | ignored: the service is well, and asks for patience | yes |
/// | other 4xx | success: the service is up, and the request was wrong | no |
/// | 500, 502, 503, 504 | failure | yes |
/// | other 5xx | failure | no |
/// | an error | failure | yes, unless a circuit rejected the call |
///
/// `Retry-After` and its relatives are read as [`retry_after`] has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http;

/// A row of the table: what the status counts as, and whether it is worth a retry.
fn row(status: StatusCode) -> (Outcome, bool) {
    match status.as_u16() {
        401 => (Outcome::Failure, false),
        408 | 500 | 502 | 503 | 504 => (Outcome::Failure, true),
        425 | 429 => (Outcome::Ignored, true),
        500.. => (Outcome::Failure, false),
        _ => (Outcome::Success, false),
    }
}

impl<B, Err> Classify<Response<B>, Err> for Http {
    fn classify(&self, result: Result<&Response<B>, &Err>) -> Outcome {
        result.map_or(Outcome::Failure, |response| row(response.status()).0)
    }

    fn retry_after(&self, result: Result<&Response<B>, &Err>, now: UnixTime) -> Option<Duration> {
        retry_after(result.ok()?.headers(), now)
    }
}

impl<B, Err: AsRejection> Retryable<Response<B>, Err> for Http {
    fn is_retryable(&self, result: Result<&Response<B>, &Err>) -> bool {
        match result {
            Ok(response) => row(response.status()).1,
            Err(error) => !error.is_rejection(),
        }
    }

    fn is_rejected(&self, result: Result<&Response<B>, &Err>) -> bool {
        result.is_err_and(AsRejection::is_rejection)
    }
}
