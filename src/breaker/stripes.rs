//! A time window that threads share without a lock: each writes counters that others seldom touch.
//!
//! Time is cut into buckets, ten to a window, and each bucket has a place in a ring; a count carries the lap that it
//! belongs to, and both change in one step. So a bucket that is over is replaced by the first outcome of its successor and
//! loses none of its own, nothing is ever swept, and an outcome that comes too late for its bucket cannot land in a newer one.
//!
//! Every generation begins [`BUCKETS`] further on, where the counts of the one before are no longer of the window.

use super::{
    sync::{AtomicU64, Ordering, Padded, fence},
    window::{BUCKETS, Call, Counts},
    word::{Age, Lapped},
};
use crate::time::Tick;

pub(super) struct Stripes {
    width: u64,
    /// The bucket that was begun last, not counting generations: most calls are of it, and it is known before the clock is
    /// read. A hint that nothing depends on.
    latest: AtomicU64,
    stripes: Box<[Padded<Stripe>]>,
}

/// Calls that failed and were slow count in each of the three.
struct Stripe {
    calls: [AtomicU64; BUCKETS],
    failures: [AtomicU64; BUCKETS],
    slow: [AtomicU64; BUCKETS],
}

/// A later bucket than the one that was asked for has begun.
struct Begun(u64);

impl Stripes {
    /// `number` is a power of two.
    pub(super) fn new(width: u64, number: usize) -> Self {
        let empty = || std::array::from_fn(|_| AtomicU64::new(0));
        let stripe = |_| Padded(Stripe { calls: empty(), failures: empty(), slow: empty() });
        Self { width, latest: AtomicU64::new(0), stripes: (0..number).map(stripe).collect() }
    }

    /// The bucket of `now`.
    #[inline]
    pub(super) fn bucket(&self, now: Tick, generation: u64) -> u64 {
        let mut number = self.latest.load(Ordering::Relaxed);
        if now.as_nanos().wrapping_sub(number.wrapping_mul(self.width)) >= self.width {
            number = self.begin(now);
        }
        number.wrapping_add(generation.wrapping_mul(BUCKETS as u64))
    }

    #[cold]
    fn begin(&self, now: Tick) -> u64 {
        let number = now.as_nanos() / self.width;
        self.latest.store(number, Ordering::Relaxed);
        number
    }

    /// Counts a call, unless the window has already moved on from its bucket.
    ///
    /// A bad one is then [marked](Self::mark): whoever counts meanwhile may see a call without its failure, and never a failure
    /// without its call.
    #[inline]
    pub(super) fn record(&self, stripe: usize, bucket: u64) {
        let (place, lap) = place(bucket);
        count(&self.stripe(stripe).calls[place], lap);
    }

    /// Says of a call that was counted how bad it was.
    pub(super) fn mark(&self, stripe: usize, bucket: u64, call: Call) {
        let (place, lap) = place(bucket);
        let stripe = self.stripe(stripe);
        if call.failed {
            count(&stripe.failures[place], lap);
        }
        if call.slow {
            count(&stripe.slow[place], lap);
        }
    }

    #[inline]
    fn stripe(&self, number: usize) -> &Stripe {
        &self.stripes[number & (self.stripes.len() - 1)].0
    }

    /// The counts of the window that ends with `bucket`, or with a later one that has begun; and which that is.
    pub(super) fn counts(&self, mut bucket: u64) -> (Counts, u64) {
        loop {
            match self.counts_at(bucket) {
                Ok(counts) => return (counts, bucket),
                Err(Begun(later)) => bucket = later,
            }
        }
    }

    fn counts_at(&self, bucket: u64) -> Result<Counts, Begun> {
        // What is bad first, calls last: calls that end meanwhile make a rate too low, and never too high. Their own
        // outcomes are judged by those who record them.
        let failures = self.sum(bucket, |stripe| &stripe.failures)?;
        let slow = self.sum(bucket, |stripe| &stripe.slow)?;
        let calls = self.sum(bucket, |stripe| &stripe.calls)?;
        Ok(Counts { calls, failures, slow, latency: 0 })
    }

    fn sum(&self, last: u64, counts: impl Fn(&Stripe) -> &[AtomicU64; BUCKETS]) -> Result<u64, Begun> {
        let (newest, lap) = place(last);
        let mut sum = 0;
        for Padded(stripe) in &self.stripes {
            for (place, word) in counts(stripe).iter().enumerate() {
                // Places behind the newest one's hold buckets of the lap before.
                let lap = if place > newest { lap.wrapping_sub(1) } else { lap };
                match Lapped(word.load(Ordering::SeqCst)).age(lap) {
                    Age::Past => {}
                    Age::Present(count) => sum += count,
                    Age::Future(laps) => {
                        return Err(Begun(lap.wrapping_add(laps).wrapping_mul(BUCKETS as u64) + place as u64));
                    }
                }
            }
        }
        Ok(sum)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below ten")]
const fn place(bucket: u64) -> (usize, u64) {
    ((bucket % BUCKETS as u64) as usize, bucket / BUCKETS as u64)
}

#[inline]
fn count(word: &AtomicU64, lap: u64) {
    let mut seen = word.load(Ordering::Relaxed);
    while let Some(next) = Lapped(seen).counted(lap) {
        // SeqCst: who counts and then reads the horizon, and who lowers the horizon and then reads the counts, must not
        // miss each other.
        match word.compare_exchange_weak(seen, next.0, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    fence();
}

#[cfg(all(test, not(portcullis_loom)))]
mod tests {
    use super::*;

    fn good(stripes: &Stripes, stripe: usize, bucket: u64) {
        stripes.record(stripe, bucket);
    }

    fn bad(stripes: &Stripes, stripe: usize, bucket: u64) {
        stripes.record(stripe, bucket);
        stripes.mark(stripe, bucket, Call { failed: true, slow: true, nanos: 0 });
    }

    fn calls(stripes: &Stripes, bucket: u64) -> u64 {
        stripes.counts(bucket).0.calls
    }

    #[test]
    fn a_call_is_counted_in_ten_buckets_and_no_more() {
        let stripes = Stripes::new(1, 2);
        for bucket in [0, 3, 9, 10, 12_345] {
            bad(&stripes, 0, bucket);
            good(&stripes, 1, bucket);
            let (counts, _) = stripes.counts(bucket + 9);
            assert_eq!((counts.calls, counts.failures, counts.slow), (2, 1, 1), "{bucket}");
            assert_eq!(calls(&stripes, bucket + 10), 0, "{bucket}");
        }
    }

    #[test]
    fn whoever_reads_an_earlier_clock_sees_the_later_bucket() {
        let stripes = Stripes::new(1, 1);
        good(&stripes, 0, 4);
        good(&stripes, 0, 15);
        let (counts, bucket) = stripes.counts(12);
        assert_eq!((counts.calls, bucket), (1, 15), "bucket 4 has left the window that bucket 15 ends");
    }

    #[test]
    fn an_outcome_whose_bucket_has_left_the_window_is_not_counted_in_another() {
        let stripes = Stripes::new(1, 1);
        good(&stripes, 0, 25);
        bad(&stripes, 0, 15);
        assert_eq!(stripes.counts(25).0, Counts { calls: 1, ..Counts::default() });
    }

    #[test]
    fn the_next_generation_begins_with_an_empty_window() {
        let stripes = Stripes::new(1, 1);
        let now = Tick::from_nanos(7);
        bad(&stripes, 0, stripes.bucket(now, 3));
        assert_eq!(calls(&stripes, stripes.bucket(now, 3)), 1);
        assert_eq!(calls(&stripes, stripes.bucket(now, 4)), 0);
    }

    #[test]
    fn buckets_are_divided_exactly() {
        for width in [1, 2, 3, 7, 100_000, 6_000_000_000, u64::MAX / 10, u64::MAX] {
            let stripes = Stripes::new(width, 1);
            for now in [0, 1, width - 1, width, width.saturating_mul(3) - 1, width.saturating_mul(3), u64::MAX] {
                assert_eq!(stripes.bucket(Tick::from_nanos(now), 0), now / width, "{now} / {width}");
            }
        }
    }
}
