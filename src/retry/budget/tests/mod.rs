mod account;

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::time::{ManualClock, Tick};

const SECOND: Duration = Duration::from_secs(1);

fn budget(share: f64, reserve: u32) -> (Budget, ManualClock) {
    let clock = ManualClock::new();
    (Budget::builder().share(share).reserve(reserve).clock(clock.clock()).build().unwrap(), clock)
}

fn record(budget: &Budget, requests: usize) {
    for _ in 0..requests {
        budget.record_request();
    }
}

/// Asks so often, and spends what it gets.
fn spend(budget: &Budget, tries: usize) -> usize {
    (0..tries).filter_map(|_| budget.try_withdraw()).map(Withdrawal::spend).count()
}

// ===== the model =====

/// A list of what happened, and when. A request is dated when somebody asks, as of the time before.
struct Model {
    share: u64,
    reserve: u64,
    bucket: u64,
    asked: u64,
    requests: Vec<u64>,
    /// By withdrawal.
    retries: Vec<(usize, u64)>,
}

impl Model {
    fn ask(&mut self, now: Tick) -> u64 {
        self.asked = self.asked.max(now.as_nanos() / self.bucket);
        let counts = |lap: u64| self.asked - lap < 10;
        let requests = self.requests.iter().filter(|lap| counts(**lap)).count() as u64;
        let retries = self.retries.iter().filter(|(_, lap)| counts(*lap)).count() as u64;
        (self.share * requests + 10_000 * self.reserve).saturating_sub(10_000 * retries) / 10_000
    }
}

#[derive(Clone, Debug)]
enum Op {
    Record(usize),
    Withdraw,
    /// The numbers pick one of those that are held.
    Spend(usize),
    GiveBack(usize),
    Left,
    /// Hundredths of the window.
    Advance(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1..30_usize).prop_map(Op::Record),
        6 => Just(Op::Withdraw),
        1 => any::<usize>().prop_map(Op::Spend),
        2 => any::<usize>().prop_map(Op::GiveBack),
        1 => Just(Op::Left),
        3 => (1..40_u32).prop_map(Op::Advance),
        1 => (90..130_u32).prop_map(Op::Advance),
    ]
}

proptest! {
    #[test]
    fn it_does_what_a_list_of_dated_events_says(
        share in 0..=10_000_u32,
        reserve in 0..4_u32,
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let clock = ManualClock::new();
        let window = SECOND;
        let builder = Budget::builder().share(f64::from(share) / 10_000.0).reserve(reserve).window(window);
        let budget = builder.clock(clock.clock()).build().unwrap();
        let mut model = Model {
            share: share.into(),
            reserve: reserve.into(),
            bucket: 100_000_000,
            asked: 0,
            requests: Vec::new(),
            retries: Vec::new(),
        };
        let mut held = Vec::new();
        let mut number = 0;
        for op in ops {
            match op {
                Op::Record(requests) => {
                    record(&budget, requests);
                    model.requests.extend(vec![model.asked; requests]);
                }
                Op::Withdraw => {
                    let taken = budget.try_withdraw();
                    prop_assert_eq!(taken.is_some(), model.ask(clock.now()) > 0);
                    if let Some(taken) = taken {
                        number += 1;
                        held.push((number, taken));
                        model.retries.push((number, model.asked));
                    }
                }
                Op::Spend(which) if !held.is_empty() => held.swap_remove(which % held.len()).1.spend(),
                Op::GiveBack(which) if !held.is_empty() => {
                    let (number, taken) = held.swap_remove(which % held.len());
                    drop(taken);
                    model.retries.retain(|retry| retry.0 != number);
                }
                Op::Spend(_) | Op::GiveBack(_) => {}
                Op::Left => prop_assert_eq!(budget.left(), model.ask(clock.now())),
                Op::Advance(hundredths) => clock.advance(window * hundredths / 100),
            }
        }
    }
}

// ===== threads =====

/// A generator that is good enough to mix what threads do.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn no_more_is_granted_than_is_allowed_and_no_less_whoever_asks_at_once() {
    const THREADS: u64 = 8;
    const RESERVE: u64 = 20;
    let (budget, clock) = budget(0.3, 20);
    let (sent, out) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (budget, clock, sent, out, start) = (&budget, &clock, &sent, &out, &start);
            scope.spawn(move || {
                start.wait();
                let mut random = thread;
                for turn in 0..20_000 {
                    if thread == 0 && turn % 2_000 == 1_999 && turn < 19_000 {
                        // Nine buckets in all: the ring turns, and nothing leaves the window.
                        clock.advance(SECOND);
                    }
                    if mix(&mut random).is_multiple_of(3) {
                        sent.fetch_add(1, SeqCst);
                        budget.record_request();
                        continue;
                    }
                    let Some(taken) = budget.try_withdraw() else { continue };
                    out.fetch_add(1, SeqCst);
                    let granted = out.load(SeqCst);
                    let allowed = sent.load(SeqCst) * 3 / 10 + RESERVE;
                    assert!(granted <= allowed, "{granted} of {allowed}");
                    if mix(&mut random).is_multiple_of(4) {
                        out.fetch_sub(1, SeqCst);
                        drop(taken);
                    } else {
                        taken.spend();
                    }
                }
            });
        }
    });
    assert_eq!(clock.now(), Tick::default().after(SECOND * 9));
    let allowed = sent.load(SeqCst) * 3 / 10 + RESERVE;
    assert_eq!(out.load(SeqCst) + budget.left(), allowed);
    clock.advance(SECOND * 10);
    assert_eq!(budget.left(), RESERVE);
}

/// D-28: 30 % of 100,000 calls that all fail, on 8 threads.
#[test]
fn where_all_calls_fail_retries_are_their_share_and_the_reserve() {
    let (budget, _) = budget(0.3, 10);
    let granted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..12_500 {
                    budget.record_request();
                    granted.fetch_add(spend(&budget, 3) as u64, SeqCst);
                }
            });
        }
    });
    assert_eq!(granted.load(SeqCst), 30_010);
}

// ===== shares =====

#[test]
fn every_share_is_what_it_says() {
    for (share, granted) in
        [(0.0, 0), (0.0001, 1), (0.2, 2_000), (0.29, 2_900), (0.6, 6_000), (0.9999, 9_999), (1.0, 10_000)]
    {
        let (budget, _) = budget(share, 0);
        record(&budget, 10_000);
        assert_eq!(spend(&budget, 20_000), granted, "{share}");
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let named = |builder: BudgetBuilder| builder.build().unwrap_err().to_string();
    for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(named(Budget::builder().share(share)), format!("share must be from 0 to 1, but is {share}"));
    }
    assert_eq!(named(Budget::builder().window(Duration::ZERO)), "window must be from 1ms to 1h, but is 0ns");
    let most = Budget::builder().window(Duration::MAX);
    assert_eq!(most.build().unwrap_err().setting(), "window");
    assert!(Budget::builder().share(0.0).reserve(0).window(SECOND / 1000).build().is_ok());
    assert!(Budget::builder().share(1.0).reserve(u32::MAX).window(SECOND * 3600).build().is_ok());
}

// ===== time =====

#[test]
fn requests_and_retries_leave_with_their_tenth_of_the_window() {
    let (budget, clock) = budget(0.2, 0);
    record(&budget, 100);
    clock.advance(SECOND * 5);
    assert_eq!(spend(&budget, 5), 5);
    clock.advance(SECOND * 5 - Duration::from_nanos(1));
    assert_eq!(budget.left(), 15);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(budget.left(), 0, "the requests are gone, and the five still count");
    record(&budget, 30);
    assert_eq!(budget.left(), 1);
    clock.advance(SECOND * 5);
    assert_eq!(budget.left(), 6);
}

#[test]
fn a_month_of_silence_leaves_the_reserve_and_is_one_turn() {
    let (budget, clock) = budget(0.2, 3);
    record(&budget, 1_000);
    assert_eq!(spend(&budget, 50), 50);
    record(&budget, 1_000);
    clock.advance(SECOND * 3600 * 24 * 30);
    assert_eq!(spend(&budget, 10), 3);
    record(&budget, 10);
    assert_eq!(spend(&budget, 10), 2);
}

#[test]
fn a_clock_at_its_end_is_a_clock() {
    let (budget, clock) = budget(0.5, 1);
    clock.advance(Duration::MAX);
    record(&budget, 4);
    assert_eq!(spend(&budget, 10), 1);
    record(&budget, 4);
    assert_eq!(spend(&budget, 10), 2);
}

/// A gauge dates the requests.
#[test]
fn a_budget_that_is_looked_at_knows_of_requests_through_a_calm() {
    let (budget, clock) = budget(0.2, 0);
    for _ in 0..60 {
        record(&budget, 10);
        clock.advance(SECOND);
        assert!(budget.left() > 0);
    }
    assert_eq!(spend(&budget, 100), 18, "nine buckets of ten, since the tenth has only begun");
}

/// Two threads may have read the clock in one order and ask in the other.
#[test]
fn a_reading_from_before_the_last_turn_asks_in_the_bucket_after_it() {
    let terms = Terms::new(0, 1, 100);
    let shared = Shared::new(terms, Tick::default());
    assert_eq!(shared.withdraw(Tick::from_nanos(900)), Some(9));
    assert_eq!(shared.withdraw(Tick::from_nanos(800)), None);
    shared.give_back(9);
    assert_eq!(shared.withdraw(Tick::from_nanos(800)), Some(9));
}

// ===== giving back =====

#[test]
fn what_is_dropped_unspent_is_there_again() {
    let (budget, clock) = budget(0.0, 2);
    let (first, second) = (budget.try_withdraw().unwrap(), budget.try_withdraw().unwrap());
    assert!(budget.try_withdraw().is_none());
    drop(first);
    clock.advance(SECOND * 4);
    assert_eq!(budget.left(), 1);
    drop(second);
    assert_eq!(budget.left(), 2, "also from an earlier bucket");
}

/// The retry that it paid for has left the window, and counts no more in any case.
#[test]
fn what_is_given_back_after_the_window_is_no_gift() {
    for late in [10, 11, 19, 2_560, 25_600] {
        let (budget, clock) = budget(0.0, 2);
        let taken = budget.try_withdraw().unwrap();
        clock.advance(SECOND * late);
        assert_eq!(budget.left(), 2);
        drop(taken);
        assert_eq!(budget.left(), 2, "{late}");
        clock.advance(SECOND * 30);
        assert_eq!(budget.left(), 2, "{late}");
    }
}

/// As if it had never been taken, also where nobody has turned the ring since.
#[test]
fn what_is_given_back_unseen_leaves_no_trace() {
    let (budget, clock) = budget(0.0, 2);
    let taken = budget.try_withdraw().unwrap();
    clock.advance(SECOND * 12);
    drop(taken);
    assert_eq!(budget.left(), 2);
    clock.advance(SECOND * 5);
    assert_eq!(budget.left(), 2);
}

/// D-29: what one call took is not what another gives back.
#[test]
fn calls_that_interleave_keep_their_own() {
    let (budget, _) = budget(0.0, 3);
    let first = budget.try_withdraw().unwrap();
    let second = budget.try_withdraw().unwrap();
    first.spend();
    assert_eq!(budget.left(), 1);
    drop(second);
    assert_eq!(budget.left(), 2);
}

#[test]
fn clones_share_one_account() {
    let (budget, _) = budget(0.0, 2);
    let other = budget.clone();
    assert_eq!((spend(&other, 5), spend(&budget, 5)), (2, 0));
    let leaked = budget.clone().leak().leak();
    assert_eq!((leaked.left(), spend(&leaked, 5)), (0, 0));
    assert_eq!(format!("{budget:?}"), "Budget { left: 0, .. }");
}
