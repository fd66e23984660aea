use std::collections::HashSet;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::retry::span::Span;

const SECOND: Duration = Duration::from_secs(1);
const JITTERS: [Jitter; 5] =
    [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Additive(SECOND), Jitter::None];

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// `random` at its lowest, its middle and its highest.
fn span(backoff: &Backoff, retry: u32, previous: Duration) -> [Duration; 3] {
    [0.0, 0.5, 1.0].map(|random| backoff.delay(retry, previous, random))
}

#[test]
fn each_jitter_spans_what_it_says() {
    let backoff = |jitter| Backoff::exponential(millis(100), SECOND).jitter(jitter);
    let none = Duration::ZERO;
    assert_eq!(span(&backoff(Jitter::Full), 3, none), [none, millis(200), millis(400)]);
    assert_eq!(span(&backoff(Jitter::Equal), 3, none), [millis(200), millis(300), millis(400)]);
    assert_eq!(span(&backoff(Jitter::None), 3, none), [millis(400); 3]);
    assert_eq!(span(&backoff(Jitter::Additive(millis(50))), 3, none), [millis(400), millis(425), millis(450)]);
    assert_eq!(span(&backoff(Jitter::Decorrelated), 1, none), [millis(100), millis(200), millis(300)]);
    assert_eq!(span(&backoff(Jitter::Decorrelated), 2, millis(300)), [millis(100), millis(500), millis(900)]);
}

#[test]
fn the_cap_is_applied_last() {
    let cap = millis(450);
    for jitter in JITTERS {
        let backoff = Backoff::exponential(millis(400), cap).jitter(jitter);
        assert!(span(&backoff, 9, cap).iter().all(|wait| *wait <= cap), "{jitter:?}");
    }
    let additive = Backoff::exponential(millis(400), cap).jitter(Jitter::Additive(millis(100)));
    assert_eq!(span(&additive, 1, Duration::ZERO), [millis(400), cap, cap]);
}

#[test]
fn a_base_above_the_cap_makes_every_wait_the_cap() {
    for jitter in [Jitter::None, Jitter::Additive(SECOND), Jitter::Decorrelated] {
        let backoff = Backoff::exponential(SECOND * 60, SECOND * 5).jitter(jitter);
        assert_eq!(span(&backoff, 1, Duration::ZERO), [SECOND * 5; 3], "{jitter:?}");
        assert!(backoff.validate().is_ok());
    }
}

#[test]
fn a_base_of_zero_stays_zero() {
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::None] {
        let backoff = Backoff::exponential(Duration::ZERO, SECOND).jitter(jitter);
        assert_eq!(span(&backoff, u32::MAX, Duration::ZERO), [Duration::ZERO; 3], "{jitter:?}");
    }
}

#[test]
fn without_a_cap_it_saturates() {
    let backoff = Backoff::exponential(SECOND, Duration::MAX).jitter(Jitter::None);
    assert_eq!(backoff.delay(60, Duration::ZERO, 0.5), SECOND * (1 << 30) * (1 << 29));
    assert_eq!(backoff.delay(1025, Duration::ZERO, 0.5), Duration::MAX);
    assert_eq!(backoff.delay(u32::MAX, Duration::ZERO, 0.5), Duration::MAX);
}

#[test]
fn a_factor_below_one_or_beyond_measure_is_refused() {
    let factor = |by| Backoff::exponential(SECOND, SECOND).factor(by).validate();
    for by in [0.99, 0.0, -2.0, f64::NAN, f64::INFINITY] {
        assert_eq!(factor(by).unwrap_err().setting(), "factor", "{by}");
    }
    assert_eq!(factor(0.5).unwrap_err().to_string(), "factor must be a finite number of at least 1, but is 0.5");
    assert!(factor(1.0).is_ok() && factor(f64::MAX).is_ok());
}

#[test]
fn one_with_its_spans_in_a_word_each_names_the_same_waits() {
    let exponential = |jitter| Backoff::exponential(millis(70), SECOND * 9).factor(1.7).jitter(jitter);
    for backoff in JITTERS.map(exponential).into_iter().chain([Backoff::constant(SECOND)]) {
        let compact = backoff.plain().expect("no user's function").map(Span::new);
        for retry in 1..12 {
            let waits = [0.0, 0.5, 1.0].map(|random| compact.map(Span::get).delay(retry, millis(900), random));
            assert_eq!(waits, span(&backoff, retry, millis(900)), "{backoff:?}");
        }
    }
    assert!(Backoff::custom(|_, _, _| SECOND).plain().is_none());
}

#[test]
fn the_users_function_is_given_what_there_is() {
    let backoff = Backoff::custom(|retry, previous, random| previous * retry + SECOND.mul_f64(random));
    assert_eq!(backoff.delay(2, SECOND, 0.5), millis(2500));
    assert_eq!(Backoff::constant(SECOND).delay(7, millis(3), 0.1), SECOND);
}

/// Draws `count` first waits of full jitter up to a second, in fractions of it.
fn sample(count: usize, mut random: impl FnMut() -> f64) -> Vec<f64> {
    let backoff = Backoff::exponential(SECOND, SECOND);
    (0..count).map(|_| backoff.delay(1, Duration::ZERO, random()).as_secs_f64()).collect()
}

/// The greatest distance between what was drawn and a uniform distribution (Kolmogorov and Smirnov).
#[expect(clippy::cast_precision_loss, reason = "ten thousand")]
fn distance(mut drawn: Vec<f64>) -> f64 {
    drawn.sort_by(f64::total_cmp);
    let count = drawn.len() as f64;
    let steps = drawn.iter().enumerate();
    steps.map(|(rank, x)| (x - rank as f64 / count).max((rank + 1) as f64 / count - x)).fold(0.0, f64::max)
}

/// The distance that ten thousand uniform draws exceed once in 10¹⁰ times: at most 2·exp(-2·n·d²), by Dvoretzky, Kiefer and
/// Wolfowitz.
const UNLIKELY: f64 = 0.035;

#[test]
fn full_jitter_is_uniform() {
    let mut seeded = StdRng::seed_from_u64(7);
    for drawn in [sample(10_000, || seeded.random()), sample(10_000, rand::random)] {
        #[expect(clippy::cast_precision_loss, reason = "ten thousand")]
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        let distance = distance(drawn);
        assert!(distance < UNLIKELY, "{distance}");
    }
}

#[test]
fn a_test_for_uniformity_finds_what_is_not() {
    let mut seeded = StdRng::seed_from_u64(7);
    assert!(distance(sample(10_000, || seeded.random::<f64>().powf(1.2))) > UNLIKELY);
}

#[test]
fn first_waits_differ_from_each_other() {
    let drawn: HashSet<_> = sample(1000, rand::random).into_iter().map(f64::to_bits).collect();
    assert!(drawn.len() > 900, "{}", drawn.len());
}

proptest! {
    #[test]
    fn no_setting_and_no_attempt_leaves_the_bounds(
        base: Duration,
        max: Duration,
        factor in prop_oneof![1.0..10.0, Just(f64::MAX)],
        additive: Duration,
        jitter in 0_usize..5,
        retry: u32,
        previous: Duration,
        random in prop_oneof![0.0..=1.0, proptest::num::f64::ANY],
    ) {
        let jitter = if jitter == 3 { Jitter::Additive(additive) } else { JITTERS[jitter] };
        let backoff = Backoff::exponential(base, max).factor(factor).jitter(jitter);
        prop_assert!(backoff.validate().is_ok());
        prop_assert!(backoff.delay(retry, previous, random) <= max);
        prop_assert!(backoff.delay(u32::MAX, previous, random) <= max);
        prop_assert!(backoff.delay(0, previous, random) <= max);
    }

    #[test]
    fn waits_grow_with_the_retry_and_with_the_randomness(
        base in 0_u64..100_000,
        jitter in 0_usize..5,
        retry in 1_u32..40,
        random in 0.0..=1.0,
    ) {
        let backoff = Backoff::exponential(millis(base), SECOND * 3600).jitter(JITTERS[jitter]);
        let wait = |retry, random| backoff.delay(retry, Duration::ZERO, random);
        prop_assert!(wait(retry, random) <= wait(retry + 1, random));
        prop_assert!(wait(retry, 0.0) <= wait(retry, random) && wait(retry, random) <= wait(retry, 1.0));
    }
}
