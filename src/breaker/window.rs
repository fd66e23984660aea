//! The sliding windows: what happened lately, by time or by number of calls.

use std::{mem, time::Duration};

use crate::time::{Tick, nanos};

/// Buckets of a time window; the running one is among them. loom searches a ring of two.
pub(super) const BUCKETS: usize = if cfg!(portcullis_loom) { 2 } else { 10 };

/// The calls that a window, or a half-open period, holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) slow: u64,
    /// The sum of all latencies, in nanoseconds; it wraps after 584 years.
    pub(super) latency: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failures += other.failures;
        self.slow += other.slow;
        self.latency = self.latency.wrapping_add(other.latency);
    }

    fn remove(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failures -= other.failures;
        self.slow -= other.slow;
        self.latency = self.latency.wrapping_sub(other.latency);
    }

    pub(super) fn mean_latency(&self) -> Option<Duration> {
        self.latency.checked_div(self.calls).map(Duration::from_nanos)
    }
}

/// One finished call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) failed: bool,
    pub(super) slow: bool,
    pub(super) nanos: u64,
}

impl From<Call> for Counts {
    fn from(Call { failed, slow, nanos }: Call) -> Self {
        Self { calls: 1, failures: failed.into(), slow: slow.into(), latency: nanos }
    }
}

/// The length of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Time(Duration),
    Calls(usize),
}

/// A window that is kept under the lock.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a circuit has one, and it never moves")]
pub(super) enum Window {
    Time(TimeWindow),
    Calls(CallWindow),
}

impl Length {
    /// The width of a bucket, in nanoseconds.
    pub(super) fn bucket(span: Duration) -> u64 {
        (nanos(span) / BUCKETS as u64).max(1)
    }
}

impl Window {
    pub(super) fn new(length: Length) -> Self {
        match length {
            Length::Time(span) => Self::Time(TimeWindow::new(span)),
            Length::Calls(size) => {
                Self::Calls(CallWindow { ring: Vec::with_capacity(size), size, next: 0, sum: Counts::default() })
            }
        }
    }

    pub(super) fn record(&mut self, now: Tick, call: Call) {
        match self {
            Self::Time(window) => window.record(now, call),
            Self::Calls(window) => window.record(call),
        }
    }

    pub(super) fn counts(&self, now: Tick) -> Counts {
        match self {
            Self::Time(window) => window.counts(now),
            Self::Calls(window) => window.sum,
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Time(window) => window.clear(),
            Self::Calls(window) => {
                window.ring.clear();
                window.next = 0;
                window.sum = Counts::default();
            }
        }
    }
}

/// A ring of buckets, each a tenth of the window.
///
/// A call recorded in bucket `b` counts until bucket `b + 10` begins: between nine tenths of the window and the whole of
/// it later, and never longer.
#[derive(Debug)]
pub(super) struct TimeWindow {
    width: u64,
    /// The number of the newest bucket; the ring holds the nine before it.
    latest: u64,
    buckets: [Counts; BUCKETS],
    /// All buckets together, so that a call costs the same however many there are.
    sum: Counts,
}

impl TimeWindow {
    fn new(span: Duration) -> Self {
        Self { width: Length::bucket(span), latest: 0, buckets: Default::default(), sum: Counts::default() }
    }

    fn clear(&mut self) {
        self.buckets = Default::default();
        self.sum = Counts::default();
    }

    fn record(&mut self, now: Tick, call: Call) {
        // A thread that read its clock before another one recorded counts in the newest bucket, and not in an old one.
        let number = self.number(now).max(self.latest);
        for begun in (self.latest..number).take(BUCKETS) {
            self.sum.remove(mem::take(&mut self.buckets[slot(begun + 1)]));
        }
        self.latest = number;
        self.buckets[slot(number)].add(call.into());
        self.sum.add(call.into());
    }

    fn counts(&self, now: Tick) -> Counts {
        let mut counts = self.sum;
        for begun in (self.latest..self.number(now)).take(BUCKETS) {
            counts.remove(self.buckets[slot(begun + 1)]);
        }
        counts
    }

    const fn number(&self, now: Tick) -> u64 {
        now.as_nanos() / self.width
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below ten")]
const fn slot(number: u64) -> usize {
    (number % BUCKETS as u64) as usize
}

/// Exactly the last `size` calls.
#[derive(Debug)]
pub(super) struct CallWindow {
    ring: Vec<Call>,
    size: usize,
    next: usize,
    sum: Counts,
}

impl CallWindow {
    fn record(&mut self, call: Call) {
        if self.ring.len() < self.size {
            self.ring.push(call);
        } else {
            self.sum.remove(mem::replace(&mut self.ring[self.next], call).into());
            self.next = (self.next + 1) % self.size;
        }
        self.sum.add(call.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Call = Call { failed: false, slow: false, nanos: 5 };
    const BAD: Call = Call { failed: true, slow: true, nanos: 15 };

    fn at(millis: u64) -> Tick {
        Tick::default().after(Duration::from_millis(millis))
    }

    #[test]
    fn a_call_leaves_a_time_window_within_one_bucket_of_its_length() {
        let mut window = Window::new(Length::Time(Duration::from_secs(10)));
        window.record(at(999), BAD);
        assert_eq!(window.counts(at(9_999)).calls, 1);
        assert_eq!(window.counts(at(10_000)).calls, 0, "window less one bucket, plus one millisecond");

        window.record(at(20_000), BAD);
        assert_eq!(window.counts(at(29_999)).calls, 1);
        assert_eq!(window.counts(at(30_000)).calls, 0, "exactly the window");
    }

    #[test]
    fn nothing_survives_a_gap_of_many_windows() {
        let mut window = Window::new(Length::Time(Duration::from_secs(10)));
        window.record(at(0), BAD);
        let years_later = at(315_360_000_000);
        assert_eq!(window.counts(years_later), Counts::default());
        window.record(years_later, OK);
        assert_eq!(window.counts(years_later), Counts { calls: 1, latency: 5, ..Counts::default() });
        assert_eq!(window.counts(Tick::from_nanos(u64::MAX)), Counts::default());
    }

    #[test]
    fn a_reading_that_comes_late_loses_no_call() {
        let mut window = Window::new(Length::Time(Duration::from_secs(10)));
        window.record(at(15_000), OK);
        window.record(at(5_000), BAD);
        assert_eq!(window.counts(at(15_000)).calls, 2);
    }

    #[test]
    fn a_count_window_slides_call_by_call() {
        let mut window = Window::new(Length::Calls(3));
        for call in [BAD, OK, OK] {
            window.record(at(0), call);
        }
        assert_eq!(window.counts(at(0)), Counts { calls: 3, failures: 1, slow: 1, latency: 25 });
        window.record(at(0), OK);
        assert_eq!(window.counts(at(0)), Counts { calls: 3, failures: 0, slow: 0, latency: 15 });
    }
}
