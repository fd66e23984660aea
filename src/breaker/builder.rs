//! The settings of a circuit.

use std::time::Duration;

use super::{circuit::Circuit, core::Core, half_open::HalfOpen, name::Name, threads, window::Length};
use crate::{
    config::ConfigError,
    time::{Clock, WallClock},
};

/// Builds a [`Circuit`]; made by [`Circuit::builder`].
///
/// No rule is on by default, and at least one has to be set.
#[derive(Clone, Debug)]
#[must_use]
pub struct CircuitBuilder {
    pub(super) name: Name,
    pub(super) consecutive_failures: Option<u32>,
    pub(super) failures: Option<u64>,
    pub(super) failure_rate: Option<f64>,
    pub(super) slow_call: Option<Duration>,
    pub(super) slow_call_rate: Option<f64>,
    pub(super) mean_latency: Option<Duration>,
    pub(super) minimum_calls: u64,
    pub(super) window: Length,
    pub(super) open_for: Duration,
    pub(super) growth: Option<(f64, Duration)>,
    pub(super) jitter: Option<f64>,
    pub(super) hint_max: Option<Duration>,
    pub(super) random: fn() -> f64,
    pub(super) half_open: HalfOpen,
    pub(super) wall_clock: WallClock,
    pub(super) clock: Option<Clock>,
    pub(super) stripes: Option<usize>,
}

impl CircuitBuilder {
    pub(super) fn new(name: Name) -> Self {
        Self {
            name,
            consecutive_failures: None,
            failures: None,
            failure_rate: None,
            slow_call: None,
            slow_call_rate: None,
            mean_latency: None,
            minimum_calls: 10,
            window: Length::Time(Duration::from_secs(60)),
            open_for: Duration::from_secs(15),
            growth: None,
            jitter: None,
            hint_max: None,
            random: rand::random::<f64>,
            wall_clock: WallClock::system(),
            half_open: HalfOpen::permits(HalfOpen::DEFAULT),
            clock: None,
            stripes: None,
        }
    }

    /// Opens after this many failures in a row, whatever the window; successes end a run, ignored calls do not.
    pub const fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive_failures = Some(failures);
        self
    }

    /// Opens when this many calls of the window failed, in a row or not.
    pub const fn failures(mut self, failures: u64) -> Self {
        self.failures = Some(failures);
        self
    }

    /// Opens when this share of the window's calls failed, from [`minimum_calls`](Self::minimum_calls) on.
    pub const fn failure_rate(mut self, rate: f64) -> Self {
        self.failure_rate = Some(rate);
        self
    }

    /// A call that takes longer than this is slow: not one that takes just as long.
    ///
    /// It is also what a dropped call is measured by: one that had already run for longer counts as slow and failed.
    pub const fn slow_call(mut self, limit: Duration) -> Self {
        self.slow_call = Some(limit);
        self
    }

    /// Opens when this share of the window's calls was slow, from [`minimum_calls`](Self::minimum_calls) on; needs
    /// [`slow_call`](Self::slow_call).
    pub const fn slow_call_rate(mut self, rate: f64) -> Self {
        self.slow_call_rate = Some(rate);
        self
    }

    /// Opens when the mean latency of the window's calls is longer, from [`minimum_calls`](Self::minimum_calls) on.
    pub const fn mean_latency(mut self, limit: Duration) -> Self {
        self.mean_latency = Some(limit);
        self
    }

    /// Rates and means count from this many calls in the window; a count window that is smaller lowers it to its size.
    /// Default: 10.
    pub const fn minimum_calls(mut self, calls: u64) -> Self {
        self.minimum_calls = calls;
        self
    }

    /// Counts the calls that ended within this time, a millisecond at least. Default: 60 seconds.
    ///
    /// The window slides in tenths: a call leaves it when at least nine tenths of it have passed, and never later than the
    /// whole.
    pub const fn window(mut self, span: Duration) -> Self {
        self.window = Length::Time(span);
        self
    }

    /// Counts exactly the last `calls` calls instead, whenever they were; 1,048,576 at most.
    ///
    /// Each takes 16 bytes, which are allocated when the circuit is built: the largest window takes 16 MiB.
    pub const fn count_window(mut self, calls: usize) -> Self {
        self.window = Length::Calls(calls);
        self
    }

    /// How long the circuit stays open before it lets probes through; a call at exactly that time is let through.
    /// Default: 15 seconds.
    pub const fn open_for(mut self, span: Duration) -> Self {
        self.open_for = span;
        self
    }

    /// Multiplies the open time by `factor` for each reopening in a row, up to `longest`; closing begins anew. Default: it does
    /// not grow.
    ///
    /// It also brings [jitter](Self::open_jitter) of a tenth, unless that is set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::{breaker::{Circuit, HalfOpen}, time::ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let circuit = Circuit::builder("customer-api")
    ///     .consecutive_failures(1)
    ///     .open_for(Duration::from_secs(5))
    ///     .open_growth(2.0, Duration::from_secs(60))
    ///     .open_jitter(0.0)
    ///     .half_open(HalfOpen::permits(1))
    ///     .clock(clock.clock())
    ///     .build()?;
    /// for seconds in [5, 10, 20, 40, 60, 60] {
    ///     circuit.acquire().unwrap().failure();
    ///     let open_for = Duration::from_secs(seconds);
    ///     assert_eq!(circuit.snapshot().retry_after, Some(open_for));
    ///     clock.advance(open_for);
    /// }
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub const fn open_growth(mut self, factor: f64, longest: Duration) -> Self {
        self.growth = Some((factor, longest));
        self
    }

    /// Shortens each open time by a random share of up to this much, so that the callers of one service do not all probe it at
    /// once; below 1. Default: none, and a tenth where the open time [grows](Self::open_growth).
    pub const fn open_jitter(mut self, share: f64) -> Self {
        self.jitter = Some(share);
        self
    }

    /// Stays open for as long as the response asks that opened the circuit, and `longest` at most, where that is longer
    /// than the open time. Default: it is not heard.
    ///
    /// What a response asks is what [`Classify::retry_after`](crate::outcome::Classify::retry_after) reads: over HTTP the
    /// header `Retry-After` and its relatives. Jitter does not shorten it.
    pub const fn honour_retry_after(mut self, longest: Duration) -> Self {
        self.hint_max = Some(longest);
        self
    }

    /// The clock that dates in `Retry-After` are compared with; the system's unless set.
    pub fn wall_clock(mut self, clock: WallClock) -> Self {
        self.wall_clock = clock;
        self
    }

    /// The source of randomness, which is called once for each opening with jitter and answers in `[0, 1]`; for tests.
    pub fn random(mut self, random: fn() -> f64) -> Self {
        self.random = random;
        self
    }

    /// How the circuit finds out whether the service is well again. Default: `HalfOpen::permits(3)`.
    pub const fn half_open(mut self, half_open: HalfOpen) -> Self {
        self.half_open = half_open;
        self
    }

    /// The clock to measure with. Default: the system's [coarse](Clock::coarse) one, where every span that the circuit
    /// measures is at least ten of its ticks, and else the [precise](Clock::precise) one.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Counts in so many places, rounded up to a power of two and at most 64, so that threads do not wait for each other.
    /// Default: as many as threads run at once, at most eight; one for [circuits by key](super::Circuits).
    ///
    /// Each takes 256 bytes, and adds to what it costs to judge a failure. One is enough where there are many circuits. A
    /// count window and the rule for mean latency have one place in any case.
    pub const fn stripes(mut self, stripes: usize) -> Self {
        self.stripes = Some(match stripes {
            0 => 1,
            64.. => 64,
            few => few.next_power_of_two(),
        });
        self
    }

    /// Builds the circuit, closed.
    ///
    /// # Errors
    ///
    /// Names the first setting that makes no sense: a rate that is not above 0 and at most 1, a number or time of zero, a
    /// slow-call rate without `slow_call`, a window of less than a millisecond or of more than 1,048,576 calls, an open time that
    /// shrinks, a share of jitter that is not at least 0 and below 1, more failures than the count window holds, more successes
    /// than permits, or no rule at all.
    pub fn build(self) -> Result<Circuit, ConfigError> {
        let plan = self.plan()?;
        let stripes = self.stripes.unwrap_or_else(threads::stripes);
        let clock = self.clock.unwrap_or_else(|| Clock::fine_enough_for(plan.shortest_span()));
        Ok(Circuit::new(Core::new(self.name, plan, clock, self.wall_clock, stripes)))
    }
}
