//! The core: what a budget owes, as integers that wrap. Time is a lap of the ring, and requests are a running total.
//!
//! The *debt* is what retries have cost, less the reserve, plus what was earned before the window began. Where what all
//! requests have earned is no less than the debt and the price of one more retry, that one may be made. So a request only
//! adds to a total, and of the two numbers the total can only grow: an answer that was "yes" stays one for as long as the
//! debt is the same.

use crate::time::Tick;

/// A request or a retry leaves the window with its bucket.
pub(super) const BUCKETS: usize = 10;

/// Steps of a share: it is kept in ten-thousandths.
pub(super) const WHOLE: u64 = 10_000;

/// The bits of an [`Account`] that tell its lap.
const LAP_BITS: u32 = 8;

/// What a retry costs. A request earns its share of that.
pub(super) const PRICE: u64 = WHOLE << LAP_BITS;

/// What the user chose, in the account's units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// What a request earns.
    share: u64,
    reserve: u64,
    /// Nanoseconds.
    bucket: u64,
}

/// The debt, in units of a ten-thousandth of a retry, and the last bits of the lap that it is of.
///
/// The debt has 56 bits and wraps. What matters is how far it is from what was earned, and that is less than half of its
/// range: 3.6 · 10¹² requests in one window would have to be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account(pub(super) u64);

/// The window: what each of its buckets holds of the past.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    newest: u64,
    buckets: [Bucket; BUCKETS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// The total of requests when it began.
    start: u64,
    /// Those that were made in it. Of the newest bucket's, only the account knows.
    retries: u64,
}

impl Terms {
    /// `share` is in ten-thousandths, at most all of them; `bucket` is not 0.
    pub(super) const fn new(share: u64, reserve: u32, bucket: u64) -> Self {
        Self { share: share << LAP_BITS, reserve: reserve as u64 * PRICE, bucket }
    }

    /// The lap of the ring in which `now` lies.
    pub(super) const fn lap(&self, now: Tick) -> u64 {
        now.as_nanos() / self.bucket
    }

    const fn earned(&self, requests: u64) -> u64 {
        self.share.wrapping_mul(requests)
    }

    /// The account after one more retry, if that may be made after so many requests in all.
    pub(super) const fn withdraw(&self, account: Account, requests: u64) -> Option<Account> {
        let after = Account(account.0.wrapping_add(PRICE));
        let left = self.earned(requests).wrapping_sub(after.debt()).cast_signed();
        if left >= 0 { Some(after) } else { None }
    }

    /// The retries that could be made now.
    pub(super) const fn left(&self, account: Account, requests: u64) -> u64 {
        let left = self.earned(requests).wrapping_sub(account.debt());
        if left.cast_signed() >= 0 { left / PRICE } else { 0 }
    }
}

impl Account {
    const fn new(debt: u64, lap: u64) -> Self {
        Self(debt | (lap & Self::LAP))
    }

    const LAP: u64 = (1 << LAP_BITS) - 1;

    const fn debt(self) -> u64 {
        self.0 & !Self::LAP
    }

    /// Whether it is of `lap`, or of one a multiple of 256 laps away.
    pub(super) const fn is_of(self, lap: u64) -> bool {
        self.0 & Self::LAP == lap & Self::LAP
    }
}

impl Ring {
    /// A window without a past, and its account.
    pub(super) fn new(terms: &Terms, newest: u64) -> (Self, Account) {
        let ring = Self { newest, buckets: [Bucket::default(); BUCKETS] };
        (ring, ring.opening(terms))
    }

    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    /// The account as it was when the newest bucket began.
    fn opening(&self, terms: &Terms) -> Account {
        let retries = self.buckets.iter().fold(0, |sum: u64, bucket| sum.wrapping_add(bucket.retries));
        // The place after the newest is the oldest's.
        let before = terms.earned(self.buckets[place(self.newest.wrapping_add(1))].start);
        Account::new(retries.wrapping_mul(PRICE).wrapping_sub(terms.reserve).wrapping_add(before), self.newest)
    }

    /// The window and its account when `lap` has begun, which is later than the newest, and there were so many requests.
    ///
    /// Nobody noted when those since the last turn were made. They stay in the bucket that was the newest, which is the
    /// earliest that they can belong to, so that none is counted for longer than the window.
    pub(super) fn turned(&self, terms: &Terms, account: Account, lap: u64, requests: u64) -> (Self, Account) {
        let mut next = *self;
        next.buckets[place(self.newest)].retries = account.0.wrapping_sub(self.opening(terms).0) / PRICE;
        let begun = lap.saturating_sub(self.newest).clamp(1, BUCKETS as u64);
        for lap in lap - (begun - 1)..=lap {
            next.buckets[place(lap)] = Bucket { start: requests, retries: 0 };
        }
        next.newest = lap;
        (next, next.opening(terms))
    }

    /// Takes back a retry that was counted in `lap`; says whether the account is to be credited.
    ///
    /// A retry that left the window with its bucket is paid off: a credit for it would be a gift.
    pub(super) fn give_back(&mut self, lap: u64) -> bool {
        if self.newest.wrapping_sub(lap) >= BUCKETS as u64 {
            return false;
        }
        if lap == self.newest {
            return true;
        }
        let retries = &mut self.buckets[place(lap)].retries;
        let counted = *retries > 0;
        *retries = retries.saturating_sub(1);
        counted
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is below ten")]
const fn place(lap: u64) -> usize {
    (lap % BUCKETS as u64) as usize
}
