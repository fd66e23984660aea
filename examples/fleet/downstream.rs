//! What all clients call: one queue, and a server that does what is in it at a rate. It does not learn that a caller has
//! gone.
//!
//! Work is counted in billionths of a request, so that a rate a second is as much work a nanosecond, and all of it is whole
//! numbers.

use std::time::Duration;

use crate::{
    BROWN_OUT,
    fleet::{Fleet, SECOND},
};
use portcullis::time::Tick;

/// The work that one request is.
const REQUEST: u64 = 1_000_000_000;
/// What an answer takes besides the wait and the work.
const LATENCY: Duration = Duration::from_millis(20);
/// A refusal takes less.
const REFUSAL: Duration = Duration::from_millis(1);

pub(crate) struct Downstream {
    /// What it does in a second, well and browned out.
    well: u64,
    brown: u64,
    /// The most that may wait, as work.
    queue: u64,
    /// All work that was ever accepted or idled away: where the end of the queue is.
    booked: u64,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done at this moment, whether or not anybody still waits.
    Done(Tick),
    /// The queue is full; the caller hears of it at this moment.
    Refused(Tick),
}

impl Downstream {
    /// Half as much again as the fleet asks of it, of which the brown-out leaves three tenths, and a queue of two seconds of
    /// requests.
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let rate = u64::from(fleet.rate);
        Self { well: rate * 3 / 2, brown: rate * 9 / 20, queue: 2 * rate * REQUEST, booked: 0 }
    }

    /// Takes a call that comes at `now`, which is no earlier than the one before.
    pub(crate) fn take(&mut self, now: Tick) -> Fate {
        let done = self.work_until(now);
        let begin = self.booked.max(done);
        if begin - done + REQUEST > self.queue {
            return Fate::Refused(now.after(REFUSAL));
        }
        self.booked = begin + REQUEST;
        Fate::Done(self.moment(self.booked).after(LATENCY))
    }

    /// The work that can have been done by then.
    fn work_until(&self, at: Tick) -> u64 {
        let (from, to) = brown_out();
        let browned = at.as_nanos().clamp(from, to) - from;
        self.well * (at.as_nanos() - browned) + self.brown * browned
    }

    /// The moment by which so much work can have been done: [`work_until`](Self::work_until), backwards.
    fn moment(&self, work: u64) -> Tick {
        let (from, to) = brown_out();
        let before = self.well * from;
        let within = before + self.brown * (to - from);
        Tick::from_nanos(if work <= before {
            work.div_ceil(self.well)
        } else if work <= within {
            from + (work - before).div_ceil(self.brown)
        } else {
            to + (work - within).div_ceil(self.well)
        })
    }
}

fn brown_out() -> (u64, u64) {
    (u64::from(BROWN_OUT.start) * SECOND, u64::from(BROWN_OUT.end) * SECOND)
}
