//! What opened a circuit, as a few plain numbers that a rejection reads without a lock.

use std::time::Duration;

use super::rules::{Rate, Trip};
use crate::time::nanos;

/// A [`Trip`] or none, packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cause(pub(super) [u64; 3]);

impl From<Trip> for Cause {
    fn from(trip: Trip) -> Self {
        // The kind, and a figure of 32 bits beside it.
        let first = |kind: u64, beside: u32| kind | u64::from(beside) << 32;
        Self(match trip {
            Trip::ConsecutiveFailures { failures } => [first(1, failures), 0, 0],
            Trip::Failures { failures, calls } => [first(2, 0), failures, calls],
            Trip::FailureRate { failures, calls, limit } => [first(3, limit.parts()), failures, calls],
            Trip::SlowCallRate { slow, calls, limit } => [first(4, limit.parts()), slow, calls],
            // Neither is ever longer than a clock can tell: such a limit is never passed.
            Trip::MeanLatency { mean, limit } => [first(5, 0), nanos(mean), nanos(limit)],
            Trip::Probes { failures, permits } => [first(6, failures), permits.into(), 0],
            Trip::HalfOpenTimeout { after } => [first(7, 0), nanos(after), 0],
        })
    }
}

impl Cause {
    #[expect(clippy::cast_possible_truncation, reason = "unpacked as it was packed")]
    pub(super) const fn trip(self) -> Option<Trip> {
        let [first, second, third] = self.0;
        let beside = (first >> 32) as u32;
        Some(match (first as u32, Rate::from_parts(beside)) {
            (1, _) => Trip::ConsecutiveFailures { failures: beside },
            (2, _) => Trip::Failures { failures: second, calls: third },
            (3, Some(limit)) => Trip::FailureRate { failures: second, calls: third, limit },
            (4, Some(limit)) => Trip::SlowCallRate { slow: second, calls: third, limit },
            (5, _) => Trip::MeanLatency { mean: Duration::from_nanos(second), limit: Duration::from_nanos(third) },
            (6, _) => Trip::Probes { failures: beside, permits: second as u32 },
            (7, _) => Trip::HalfOpenTimeout { after: Duration::from_nanos(second) },
            _ => return None,
        })
    }
}

#[cfg(all(test, not(portcullis_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_trip_is_unpacked_as_it_was_packed() {
        let limit = Rate::new(0.57).unwrap();
        let (mean, after) = (Duration::from_nanos(123), Duration::from_secs(30));
        let trips = [
            Trip::ConsecutiveFailures { failures: u32::MAX },
            Trip::Failures { failures: 5, calls: 1 << 40 },
            Trip::FailureRate { failures: 5, calls: 9, limit },
            Trip::SlowCallRate { slow: 7, calls: 9, limit },
            Trip::MeanLatency { mean, limit: after },
            Trip::Probes { failures: 2, permits: u32::MAX },
            Trip::HalfOpenTimeout { after },
        ];
        for trip in trips {
            assert_eq!(Cause::from(trip).trip(), Some(trip));
        }
        assert_eq!(Cause::default().trip(), None);
    }
}
