//! What a caller is told when a circuit does not let it through.

use std::{error::Error, fmt, time::Duration};

use super::{name::Name, refusal::Refusal, rules::Trip};
use crate::{BoxError, outcome::AsRejection, time::whole_millis};

/// A call that a circuit did not let through.
///
/// It owns nothing shared and costs no allocation.
#[derive(Clone, Copy)]
pub struct Rejected {
    circuit: Name,
    refusal: Refusal,
}

impl Rejected {
    pub(super) const fn new(circuit: Name, refusal: Refusal) -> Self {
        Self { circuit, refusal }
    }

    /// The circuit's name.
    #[must_use]
    pub fn circuit(&self) -> &str {
        self.circuit.as_str()
    }

    /// What opened the circuit; `None` where no rule did: it was [forced open](super::Circuit::force_open), or has closed since.
    #[must_use]
    pub const fn tripped(&self) -> Option<Trip> {
        self.refusal.cause.trip()
    }

    /// The time after which the circuit lets calls through again, zero where it would already.
    ///
    /// Waiting it out is enough for the first callers who come then; they are probes, and others may have taken the
    /// places. `None` where nobody can tell: the circuit is half-open with all its places taken, and the probes decide, or it was
    /// [forced open](super::Circuit::force_open), and somebody will.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.refusal.retry_after()
    }
}

/// As its methods tell it.
impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("circuit", &self.circuit)
            .field("tripped", &self.tripped())
            .field("retry_after", &self.retry_after())
            .finish()
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "circuit {} let no call through", self.circuit)?;
        if let Some(trip) = self.refusal.cause.trip() {
            write!(f, ": {trip}")?;
        }
        match self.refusal.retry_after() {
            Some(Duration::ZERO) => f.write_str("; it would now"),
            // To the millisecond, and never shorter than it is.
            Some(wait) => write!(f, "; it will in {:?}", whole_millis(wait)),
            None => Ok(()),
        }
    }
}

impl Error for Rejected {}

impl AsRejection for Rejected {
    fn is_rejection(&self) -> bool {
        true
    }
}

/// The error of a service behind a circuit breaker: the circuit's rejection, or the service's own error.
///
/// It becomes a [`BoxError`] whatever `E` is, a `BoxError` included, and flat: the box holds the [`Rejected`] or the inner
/// error itself, so `error.downcast_ref::<Rejected>()` finds it. To make that possible it is no [`Error`] itself, since a
/// `BoxError` is none either.
///
/// ```
/// use portcullis::{BoxError, breaker::{BreakerError, Circuit, Rejected}};
///
/// let circuit = Circuit::builder("printer").consecutive_failures(1).build()?;
/// circuit.acquire()?.failure();
/// let error: BoxError = circuit.call(|| Ok::<(), BoxError>(())).unwrap_err().into();
/// assert!(error.is::<Rejected>());
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum BreakerError<E> {
    /// The circuit did not let the call through; the service was not asked.
    Rejected(Rejected),
    /// The service failed.
    Inner(E),
}

impl<E> From<Rejected> for BreakerError<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl<E: Into<BoxError>> From<BreakerError<E>> for BoxError {
    fn from(error: BreakerError<E>) -> Self {
        match error {
            BreakerError::Rejected(rejected) => rejected.into(),
            BreakerError::Inner(error) => error.into(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for BreakerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

/// A typed inner error is the service's own; to find the rejection of a second circuit further in, box the errors.
impl<E> AsRejection for BreakerError<E> {
    fn is_rejection(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }
}

#[cfg(all(test, not(portcullis_loom)))]
mod tests {
    use super::*;
    use crate::breaker::cause::Cause;

    /// It has closed between the refusal and the look at what is to be waited for.
    #[test]
    fn a_circuit_that_would_let_the_next_call_through_says_so_and_names_no_span() {
        let rejected = Rejected::new(Name::from("test"), Refusal { cause: Cause::default(), wait: 0 });
        assert_eq!((rejected.tripped(), rejected.retry_after()), (None, Some(Duration::ZERO)));
        assert_eq!(rejected.to_string(), "circuit test let no call through; it would now");
    }
}
