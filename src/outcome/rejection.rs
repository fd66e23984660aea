//! Finding a circuit's rejection in an error, typed or boxed.

use std::{convert::Infallible, error::Error, io};

use crate::{BoxError, breaker::Rejected};

/// An error that may be a circuit breaker's rejection, which is never retried.
///
/// Implemented for the errors of this crate, for [`BoxError`], [`io::Error`] and [`Infallible`]. An error of your own
/// needs one line, `impl AsRejection for MyError {}`; one of another crate is boxed first, with
/// `ServiceBuilder::map_err(BoxError::from)`.
///
/// It is a trait, and not a bound on [`Error`], because a `BoxError` is not an `Error`, and both have to work.
#[diagnostic::on_unimplemented(
    note = "box an error of another crate first: `ServiceBuilder::map_err(BoxError::from)`",
    note = "an error of your own needs one line: `impl AsRejection for MyError {{}}`"
)]
pub trait AsRejection {
    /// Whether this is a call that an open circuit did not let through.
    fn is_rejection(&self) -> bool {
        false
    }
}

impl AsRejection for Infallible {}

impl AsRejection for BoxError {
    fn is_rejection(&self) -> bool {
        has_rejection(self.as_ref())
    }
}

impl AsRejection for io::Error {
    fn is_rejection(&self) -> bool {
        self.get_ref().is_some_and(|inner| has_rejection(inner))
    }
}

fn has_rejection(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Rejected>() {
            return true;
        }
        // An I/O error passes over what it holds, and names that one's source as its own.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    false
}
