//! What the words hold that threads share: several numbers each, so that one step changes them together. All pure.

/// The generation of a circuit, which every change of state counts on, and what calls have to know of the state.
///
/// It is only read while nothing changes. A call is admitted in the generation that it reads, and is heard in no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Control(pub(super) u64);

/// What a call may do without the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Go through, and be counted.
    Counting,
    /// Go through and be counted; nobody judges.
    Noted,
    /// Go through, and not be counted.
    Uncounted,
    /// Be rejected until the open time has passed.
    Open,
    /// Be rejected until the half-open period is over, or until a place is given back.
    Full,
    /// Be rejected.
    Shut,
    /// Nothing: take the lock and ask. Half-open, or just changing.
    Ask,
}

impl Gate {
    /// Whether calls go through, without the lock being asked.
    pub(super) const fn is_free(self) -> bool {
        matches!(self, Self::Counting | Self::Noted | Self::Uncounted)
    }

    /// Whether calls are rejected, without the lock being asked.
    pub(super) const fn is_barred(self) -> bool {
        matches!(self, Self::Open | Self::Full | Self::Shut)
    }
}

impl Control {
    pub(super) const fn new(generation: u64, gate: Gate) -> Self {
        Self(generation << 4 | gate as u64)
    }

    pub(super) const fn generation(self) -> u64 {
        self.0 >> 4
    }

    pub(super) const fn gate(self) -> Gate {
        const COUNTING: u64 = Gate::Counting as u64;
        const OPEN: u64 = Gate::Open as u64;
        const FULL: u64 = Gate::Full as u64;
        const NOTED: u64 = Gate::Noted as u64;
        const UNCOUNTED: u64 = Gate::Uncounted as u64;
        const SHUT: u64 = Gate::Shut as u64;
        match self.0 & 15 {
            COUNTING => Gate::Counting,
            OPEN => Gate::Open,
            FULL => Gate::Full,
            NOTED => Gate::Noted,
            UNCOUNTED => Gate::Uncounted,
            SHUT => Gate::Shut,
            _ => Gate::Ask,
        }
    }
}

/// A count and the lap of the ring that it belongs to: `lap:31 | count:33`.
///
/// Laps are compared as they wrap. With a window of one minute that is after four thousand years, with one of a millisecond
/// after 25 days; a count can be taken for a later one only where nothing was counted in its place all that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lapped(pub(super) u64);

/// How a count's lap stands to the one that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Past,
    Present(u64),
    /// By so many laps.
    Future(u64),
}

impl Lapped {
    const COUNT: u64 = (1 << 33) - 1;
    const LAP: u64 = (1 << 31) - 1;
    /// What is further ahead has wrapped: no thread holds on to an outcome for so many laps.
    const AHEAD: u64 = 1 << 16;

    pub(super) const fn age(self, lap: u64) -> Age {
        let count = self.0 & Self::COUNT;
        match (self.0 >> 33).wrapping_sub(lap) & Self::LAP {
            // Nothing was ever counted here.
            _ if count == 0 => Age::Past,
            0 => Age::Present(count),
            ahead if ahead < Self::AHEAD => Age::Future(ahead),
            _ => Age::Past,
        }
    }

    /// With one more of `lap`, or `None` where a later lap has begun: the window has moved on from this one.
    pub(super) const fn counted(self, lap: u64) -> Option<Self> {
        // Nearly always: a count of this lap that is neither empty nor full.
        if (self.0 ^ lap << 33).wrapping_sub(1) < Self::COUNT - 1 {
            return Some(Self(self.0 + 1));
        }
        match self.age(lap) {
            Age::Past => Some(Self((lap & Self::LAP) << 33 | 1)),
            Age::Present(Self::COUNT) | Age::Future(_) => None,
            Age::Present(_) => Some(Self(self.0 + 1)),
        }
    }
}

/// The bucket from which on a success has to be judged, and how many bad outcomes there were: `bad:20 | bucket:44`.
///
/// Only who has seen all bad outcomes may set the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Horizon(pub(super) u64);

impl Horizon {
    const BUCKET: u64 = (1 << 44) - 1;
    /// No success has to be judged.
    pub(super) const NEVER: u64 = Self::BUCKET;
    /// Every success has to be judged.
    pub(super) const NOW: u64 = 0;

    pub(super) const fn is_reached(self, bucket: u64) -> bool {
        bucket >= self.0 & Self::BUCKET
    }

    /// One more bad outcome: every success is judged until somebody has seen what it does.
    pub(super) const fn after_bad(self) -> Self {
        Self((self.0 & !Self::BUCKET).wrapping_add(Self::BUCKET + 1))
    }

    pub(super) const fn moved_to(self, bucket: u64) -> Self {
        let bucket = if bucket < Self::BUCKET { bucket } else { Self::BUCKET };
        Self(self.0 & !Self::BUCKET | bucket)
    }
}

/// Failures since the last success, and the generation that they belong to: `generation:32 | failures:32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run(pub(super) u64);

impl Run {
    const FAILURES: u64 = u32::MAX as u64;

    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub(super) const fn failures(self) -> u32 {
        self.0 as u32
    }

    /// After an outcome of `generation`, or `None` where that changes nothing.
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "compared as they wrap")]
    pub(super) const fn after(self, generation: u64, failed: bool) -> Option<Self> {
        let ahead = (generation as u32).wrapping_sub((self.0 >> 32) as u32) as i32;
        let run = if ahead > 0 { 0 } else { self.0 & Self::FAILURES };
        match failed {
            _ if ahead < 0 => None,
            true if run == Self::FAILURES => None,
            true => Some(Self(generation << 32 | (run + 1))),
            false if run == 0 => None,
            false => Some(Self(generation << 32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_a_later_lap_is_not_touched_and_one_of_an_earlier_lap_makes_way() {
        let mut word = Lapped(0);
        for _ in 0..3 {
            word = word.counted(7).unwrap();
        }
        assert_eq!(word.age(7), Age::Present(3));
        assert_eq!(word.age(8), Age::Past);
        assert_eq!(word.age(5), Age::Future(2));
        assert_eq!(word.counted(6), None);
        assert_eq!(word.counted(8).unwrap().age(8), Age::Present(1));
    }

    #[test]
    fn laps_wrap_and_an_empty_count_is_never_ahead() {
        let last = Lapped(0).counted(u64::from(u32::MAX >> 1)).unwrap();
        assert_eq!(last.age((1 << 31) - 1), Age::Present(1));
        assert_eq!(last.age(1 << 31), Age::Past);
        assert_eq!(Lapped(0).age((1 << 31) - 1), Age::Past, "a circuit that begins just before laps wrap");
    }

    #[test]
    fn a_count_holds_more_than_two_to_the_power_of_32_and_then_stands_still() {
        assert_eq!(Lapped(1 << 32).counted(0).unwrap().age(0), Age::Present((1 << 32) + 1));
        let full = Lapped((1 << 33) - 1);
        assert_eq!(full.counted(0), None);
    }

    #[test]
    fn a_bad_outcome_makes_an_older_horizon_unfit() {
        let seen = Horizon(0).after_bad();
        assert!(seen.is_reached(0));
        let later = seen.moved_to(Horizon::NEVER);
        assert!(!later.is_reached(1 << 40));
        assert_ne!(later.after_bad(), seen);
        assert_eq!(Horizon(u64::MAX).after_bad(), Horizon(0), "the count of bad outcomes wraps");
    }

    #[test]
    fn a_run_belongs_to_its_generation() {
        let three = (0..3).fold(Run(0), |run, _| run.after(5, true).unwrap());
        assert_eq!(three.failures(), 3);
        assert_eq!(three.after(4, true), None, "a straggler adds nothing");
        assert_eq!(three.after(4, false), None, "nor ends the run");
        assert_eq!(three.after(6, true).unwrap().failures(), 1);
        assert_eq!(three.after(6, false), None, "a new generation begins without a run");
        assert_eq!(three.after(5, false).unwrap().failures(), 0);
    }
}
