//! Each model is a race that the budget has to survive, in every order in which its threads can step.

use std::sync::atomic::{AtomicU64, Ordering};

use loom::{sync::Arc, thread};

use super::{
    account::{Terms, WHOLE},
    shared::Shared,
};
use crate::{search, time::Tick};

/// Half a retry for a request; a bucket takes one nanosecond.
fn budget(reserve: u32) -> Arc<Shared> {
    Arc::new(Shared::new(Terms::new(WHOLE / 2, reserve, 1), at(0)))
}

const fn at(lap: u64) -> Tick {
    Tick::from_nanos(lap)
}

/// Lets two threads do it, each with its number, and returns the sum of what they return.
fn two(shared: &Arc<Shared>, work: impl Fn(u64, &Shared) -> u64 + Copy + Send + Sync + 'static) -> u64 {
    let sum = std::sync::Arc::new(AtomicU64::new(0));
    let threads = [0, 1].map(|number| {
        let (shared, sum) = (Arc::clone(shared), std::sync::Arc::clone(&sum));
        thread::spawn(move || sum.fetch_add(work(number, &shared), Ordering::Relaxed))
    });
    for thread in threads {
        thread.join().unwrap();
    }
    sum.load(Ordering::Relaxed)
}

#[test]
fn one_place_is_given_once() {
    search("two withdrawals for one retry", || {
        let shared = budget(1);
        assert_eq!(two(&shared, |_, shared| shared.withdraw(at(0)).is_some().into()), 1);
        assert_eq!(shared.left(at(0)), 0);
    });
}

#[test]
fn what_requests_earn_while_somebody_asks_is_given_once() {
    search("requests against withdrawals", || {
        let shared = budget(0);
        let given = two(&shared, |_, shared| {
            shared.record();
            shared.withdraw(at(0)).is_some().into()
        });
        // Who asked last has seen both requests, unless its own reading was older.
        assert!(given <= 1);
        assert_eq!(shared.left(at(0)) + given, 1);
    });
}

#[test]
fn a_retry_that_is_taken_while_the_ring_turns_is_counted_for_as_long_as_it_should_be() {
    search("withdrawal against turnover", || {
        let shared = budget(2);
        let laps = std::sync::Arc::new([const { AtomicU64::new(0) }; 2]);
        let seen = std::sync::Arc::clone(&laps);
        let threads = [3, 4].map(|lap| {
            let (shared, seen) = (Arc::clone(&shared), std::sync::Arc::clone(&seen));
            thread::spawn(move || {
                let taken = shared.withdraw(at(lap)).expect("there are two");
                assert!(taken >= lap);
                seen[usize::from(lap == 4)].store(taken, Ordering::Relaxed);
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        // Each leaves with the bucket that it was told, and not before.
        let mut ends = laps.each_ref().map(|lap| lap.load(Ordering::Relaxed) + 10);
        ends.sort_unstable();
        for now in 4..=14 {
            let left = ends.iter().filter(|end| **end <= now).count() as u64;
            assert_eq!(shared.left(at(now)), left, "{ends:?} at {now}");
        }
    });
}

#[test]
fn a_withdrawal_against_the_turn_that_ends_the_window_takes_from_one_of_the_two() {
    search("withdrawal against the end of the window", || {
        let shared = budget(0);
        shared.record();
        shared.record();
        let given = two(&shared, |number, shared| shared.withdraw(at(10 * number)).is_some().into());
        // What the requests earned is there before the turn and gone after it.
        assert!(given <= 1);
        assert_eq!(shared.left(at(10)), 0);
        assert_eq!(shared.left(at(25)), 0);
    });
}

#[test]
fn what_is_given_back_while_the_ring_turns_is_there_again_and_only_once() {
    search("giving back against turnover", || {
        let shared = budget(2);
        let lap = shared.withdraw(at(0)).unwrap();
        shared.withdraw(at(0)).unwrap();
        let given = two(&shared, move |number, shared| {
            if number == 0 {
                shared.give_back(lap);
                0
            } else {
                shared.withdraw(at(1)).is_some().into()
            }
        });
        assert_eq!(shared.left(at(1)) + given, 1);
        // The other one of the first bucket leaves; the one of the second stays for one more.
        assert_eq!(shared.left(at(10)) + given, 2);
        assert_eq!(shared.left(at(11)), 2);
    });
}

#[test]
fn what_is_given_back_as_its_window_ends_is_no_gift() {
    search("giving back against the end of the window", || {
        let shared = budget(1);
        let lap = shared.withdraw(at(0)).unwrap();
        let given = two(&shared, move |number, shared| {
            if number == 0 {
                shared.give_back(lap);
                0
            } else {
                shared.withdraw(at(10)).is_some().into()
            }
        });
        assert_eq!((given, shared.left(at(10))), (1, 0));
        assert_eq!(shared.left(at(20)), 1);
    });
}
