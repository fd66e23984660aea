//! What is seen from outside: the calls that reach the downstream, and what becomes of requests.

use std::ops::Range;

use portcullis::time::Tick;

use crate::{
    BROWN_OUT, END,
    downstream::Fate,
    fleet::{Fleet, SECOND, TIMEOUT},
};

/// Steps of a second.
const STEPS: u32 = 10;
/// The brown-out is over for the fleet once this share of its requests, second by second, is answered to the end.
const RECOVERED: f64 = 0.9;
/// Seconds that have to be left for that.
const QUIET: u32 = 5;

/// Counts, which grow as far as time has got.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Calls in each step.
    calls: Vec<u32>,
    /// Requests in the second in which they were made, and those of them that were answered in the end.
    made: Vec<u32>,
    answered: Vec<u32>,
    done: u32,
    wasted: u32,
}

/// What a record comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    /// The share of requests that were answered before the brown-out.
    pub(crate) calm: f64,
    /// Calls during the brown-out, as a multiple of the requests.
    pub(crate) load: f64,
    /// Most calls within 100 ms, as a multiple of the usual.
    pub(crate) worst: f64,
    /// The share of requests of the brown-out that were answered.
    pub(crate) answered: f64,
    /// The share of what the downstream did from the brown-out on that nobody waited for any more.
    pub(crate) wasted: f64,
    /// Seconds after its end; `None` where it had not recovered when the simulation ended.
    pub(crate) recovery: Option<u32>,
}

fn add(counts: &mut Vec<u32>, at: usize) {
    if counts.len() <= at {
        counts.resize(at + 1, 0);
    }
    counts[at] += 1;
}

fn sum(counts: &[u32], seconds: &Range<u32>, steps: u32) -> u32 {
    let (from, to) = ((seconds.start * steps) as usize, (seconds.end * steps) as usize);
    counts.iter().skip(from).take(to - from).sum()
}

fn share(part: u32, of: u32) -> f64 {
    f64::from(part) / f64::from(of.max(1))
}

impl Record {
    pub(crate) fn made(&mut self, second: usize) {
        add(&mut self.made, second);
    }

    pub(crate) fn answered(&mut self, second: usize) {
        add(&mut self.answered, second);
    }

    pub(crate) fn called(&mut self, now: Tick, fate: Fate) {
        add(&mut self.calls, usize::try_from(now.as_nanos() * u64::from(STEPS) / SECOND).unwrap_or(usize::MAX));
        let watched = u64::from(BROWN_OUT.start) * SECOND..u64::from(END) * SECOND;
        if let Fate::Done(at) = fate
            && watched.contains(&now.as_nanos())
        {
            self.done += 1;
            self.wasted += u32::from(at > now.after(TIMEOUT));
        }
    }

    pub(crate) fn figures(&self, fleet: &Fleet) -> Figures {
        let usual = f64::from(fleet.rate) / f64::from(STEPS);
        let answered = |seconds: Range<u32>| share(sum(&self.answered, &seconds, 1), sum(&self.made, &seconds, 1));
        Figures {
            calm: answered(0..BROWN_OUT.start),
            load: share(sum(&self.calls, &BROWN_OUT, STEPS), sum(&self.made, &BROWN_OUT, 1)),
            worst: f64::from(self.calls.iter().copied().max().unwrap_or_default()) / usual,
            answered: answered(BROWN_OUT),
            wasted: share(self.wasted, self.done),
            recovery: self.recovery(),
        }
    }

    /// The seconds from the end of the brown-out until all that follow are good.
    fn recovery(&self) -> Option<u32> {
        let goodput = self.goodput();
        let last_bad = (BROWN_OUT.end..END).rev().find(|second| goodput[*second as usize] < RECOVERED);
        let recovered = last_bad.map_or(BROWN_OUT.end, |second| second + 1);
        (recovered + QUIET <= END).then_some(recovered - BROWN_OUT.end)
    }

    /// The share of each second's requests that was answered in the end.
    pub(crate) fn goodput(&self) -> Vec<f64> {
        (0..END)
            .map(|second| {
                share(sum(&self.answered, &(second..second + 1), 1), sum(&self.made, &(second..second + 1), 1))
            })
            .collect()
    }

    /// The calls of each second, as a multiple of the usual.
    pub(crate) fn load(&self, fleet: &Fleet) -> Vec<f64> {
        let calls = |second: u32| sum(&self.calls, &(second..second + 1), STEPS);
        (0..END).map(|second| share(calls(second), fleet.rate)).collect()
    }
}
