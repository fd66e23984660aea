//! Why a body ended before its end.

use std::{error::Error, fmt};

use crate::BoxError;

/// The error of a [`ReplayBody`](super::ReplayBody).
///
/// It is no [`Error`] itself, so that it can hold a [`BoxError`], which is none either. It converts into a `BoxError`, as HTTP
/// clients ask, and is gone then: what is boxed is the original body's error, or a [`NotReplayed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayError<E> {
    /// The original body's.
    Body(E),
    /// What is left of the body is not to be had here.
    NotReplayed(NotReplayed),
}

impl<E: fmt::Display> fmt::Display for ReplayError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::NotReplayed(error) => error.fmt(f),
        }
    }
}

impl<E: Into<BoxError>> From<ReplayError<E>> for BoxError {
    fn from(error: ReplayError<E>) -> Self {
        match error {
            ReplayError::Body(error) => error.into(),
            ReplayError::NotReplayed(error) => error.into(),
        }
    }
}

/// Why a body was not sent, or not sent to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotReplayed {
    /// The request is being sent again, and what is left of the body belongs to the later attempt.
    Superseded,
    /// What was read of the body is no longer kept: it outgrew the cap, or there was no copy of the request when it was read.
    NotKept,
    /// The original body failed, or panicked, when another attempt read it.
    Failed,
}

impl fmt::Display for NotReplayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superseded => "the request is being sent again",
            Self::NotKept => "the body was not kept, and cannot be sent again",
            Self::Failed => "the body failed in an earlier attempt",
        })
    }
}

impl Error for NotReplayed {}
