//! How long a circuit stays open.

use std::time::Duration;

use crate::time::nanos;

/// The open time: how it begins, how it grows, and how far it is moved. Spans are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) first: u64,
    /// What each reopening in a row multiplies it by, and the longest that this makes of it.
    pub(super) growth: f64,
    pub(super) longest: u64,
    /// The largest share by which chance shortens it.
    pub(super) jitter: f64,
    /// The longest that a response's own wish makes of it; zero where that is not heard.
    pub(super) hint_max: u64,
    /// Answers in `[0, 1]`.
    pub(super) random: fn() -> f64,
}

impl Opening {
    /// The open time after so many reopenings in a row; `hint` is what the failed response asked for.
    pub(super) fn span(&self, reopened: u32, hint: Option<Duration>) -> Duration {
        let span = if reopened == 0 || self.growth <= 1.0 { self.first } else { self.grown(reopened) };
        let less = if self.jitter > 0.0 { times(span, self.jitter * (self.random)().clamp(0.0, 1.0)) } else { 0 };
        let hint = nanos(hint.unwrap_or_default()).min(self.hint_max);
        Duration::from_nanos(span.saturating_sub(less).max(hint))
    }

    fn grown(&self, reopened: u32) -> u64 {
        times(self.first, self.growth.powi(i32::try_from(reopened).unwrap_or(i32::MAX))).min(self.longest)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "saturates, and nobody chose a factor to the last of its digits"
)]
fn times(span: u64, factor: f64) -> u64 {
    (span as f64 * factor).round() as u64
}

#[cfg(all(test, not(portcullis_loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn doubling() -> Opening {
        let first = nanos(SECOND);
        Opening { first, growth: 2.0, longest: 10 * first, jitter: 0.0, hint_max: 0, random: || 1.0 }
    }

    #[test]
    fn it_grows_up_to_a_cap_and_never_overflows() {
        let spans = [0, 1, 2, 3, 4, 5, 1000, u32::MAX].map(|reopened| doubling().span(reopened, None).as_secs());
        assert_eq!(spans, [1, 2, 4, 8, 10, 10, 10, 10]);
        let constant = Opening { growth: 1.0, ..doubling() };
        assert_eq!(constant.span(u32::MAX, None), SECOND);
    }

    #[test]
    fn jitter_only_shortens_and_by_no_more_than_its_share() {
        for (draw, millis) in [((|| 0.0) as fn() -> f64, 4000), (|| 0.5, 3000), (|| 1.0, 2000), (|| 7.0, 2000)] {
            let jittered = Opening { jitter: 0.5, random: draw, ..doubling() };
            assert_eq!(jittered.span(2, None), Duration::from_millis(millis));
        }
    }

    #[test]
    fn a_hint_lengthens_up_to_its_own_cap_and_is_not_jittered() {
        assert_eq!(doubling().span(0, Some(60 * SECOND)), SECOND, "not switched on");
        let hinted = Opening { hint_max: nanos(30 * SECOND), jitter: 0.5, ..doubling() };
        assert_eq!(hinted.span(0, Some(20 * SECOND)), 20 * SECOND);
        assert_eq!(hinted.span(0, Some(60 * SECOND)), 30 * SECOND);
        assert_eq!(hinted.span(3, Some(SECOND)), 4 * SECOND, "shorter than what it is anyway");
    }
}
