//! What a caller is told when a request was not signed.

use std::{error::Error, fmt};

use crate::{BoxError, outcome::AsRejection, signature::SignError};

/// A request could not be signed, and was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotSigned {
    /// It lacks something that the scheme signs.
    Sign(SignError),
    /// Its body is larger than [the cap](super::SignLayer::max_body_bytes).
    TooLarge,
    /// Its body failed.
    Body(BoxError),
}

impl From<SignError> for NotSigned {
    fn from(error: SignError) -> Self {
        Self::Sign(error)
    }
}

impl fmt::Display for NotSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sign(error) => write!(f, "not signed: {error}"),
            Self::TooLarge => f.write_str("not signed: the body is larger than the cap"),
            Self::Body(error) => write!(f, "not signed: the body failed: {error}"),
        }
    }
}

impl Error for NotSigned {}

impl AsRejection for NotSigned {}

/// The error of a service behind a [`Sign`](super::Sign): the request was not signed, or the service's own error.
///
/// It becomes a [`BoxError`] whatever `E` is, a `BoxError` included, and flat: the box holds the [`NotSigned`] or the inner
/// error itself. To make that possible it is no [`Error`] itself, since a `BoxError` is none either.
#[derive(Debug)]
pub enum SigningError<E> {
    /// It was not signed, and the service was not called.
    NotSigned(NotSigned),
    /// The service failed.
    Inner(E),
}

impl<E> From<NotSigned> for SigningError<E> {
    fn from(error: NotSigned) -> Self {
        Self::NotSigned(error)
    }
}

impl<E: Into<BoxError>> From<SigningError<E>> for BoxError {
    fn from(error: SigningError<E>) -> Self {
        match error {
            SigningError::NotSigned(error) => error.into(),
            SigningError::Inner(error) => error.into(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for SigningError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSigned(error) => error.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: AsRejection> AsRejection for SigningError<E> {
    fn is_rejection(&self) -> bool {
        match self {
            Self::NotSigned(error) => error.is_rejection(),
            Self::Inner(error) => error.is_rejection(),
        }
    }
}
