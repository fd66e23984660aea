//! The breaker under real threads: what is counted, and how many are admitted.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use portcullis::{
    breaker::{Circuit, HalfOpen, State},
    outcome::Outcome,
    time::ManualClock,
};

const THREADS: u64 = 4;
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn no_outcome_is_lost_while_buckets_turn_over() {
    const CALLS: u64 = 20_000;
    for stripes in [1, 2, 8] {
        let clock = ManualClock::new();
        let circuit = Circuit::builder("test")
            .failure_rate(1.0)
            .slow_call(SECOND)
            .window(10 * SECOND)
            .stripes(stripes)
            .clock(clock.clock())
            .build()
            .unwrap();
        // Buckets of a window that was over before hold counts that have to make way.
        for _ in 0..20 {
            circuit.acquire().unwrap().success();
            clock.advance(SECOND);
        }
        let done = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for turn in 0..CALLS {
                        let permit = circuit.acquire().unwrap();
                        if turn % 10 == 0 {
                            permit.failure();
                        } else {
                            permit.success();
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // Nine turnovers: the first call is still in the window when the last one ends.
            for second in 1..=9 {
                while done.load(Ordering::Relaxed) < second * THREADS * CALLS / 10 {
                    thread::yield_now();
                }
                clock.advance(SECOND);
            }
        });
        // A slow call is one during which the clock was moved: there are a few, and each was counted once as a call.
        let snapshot = circuit.snapshot();
        assert_eq!((snapshot.calls, snapshot.failures), (THREADS * CALLS, THREADS * CALLS / 10), "{stripes} stripes");
    }
}

#[test]
fn no_half_open_period_admits_a_call_too_many() {
    const PERMITS: u32 = 5;
    let clock = ManualClock::new();
    let circuit = Circuit::builder("test")
        .consecutive_failures(1)
        .open_for(SECOND)
        .half_open(HalfOpen::permits(PERMITS))
        .clock(clock.clock())
        .build()
        .unwrap();
    for round in 0..500 {
        while let Ok(permit) = circuit.acquire() {
            permit.failure();
        }
        clock.advance(SECOND);
        let (admitted, asked) = (AtomicU64::new(0), Barrier::new(4));
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (circuit, admitted, asked) = (&circuit, &admitted, &asked);
                scope.spawn(move || {
                    asked.wait();
                    let mut permits: Vec<_> = (0..3).filter_map(|_| circuit.acquire().ok()).collect();
                    // One that is given back may be taken once more, by anyone.
                    if thread == 0
                        && let Some(permit) = permits.pop()
                    {
                        permit.ignored();
                        permits.extend(circuit.acquire());
                    }
                    admitted.fetch_add(permits.len() as u64, Ordering::Relaxed);
                    asked.wait();
                    for permit in permits {
                        permit.settle(if round % 2 == 0 { Outcome::Success } else { Outcome::Failure });
                    }
                });
            }
        });
        let admitted = admitted.into_inner();
        assert!((u64::from(PERMITS) - 1..=u64::from(PERMITS)).contains(&admitted), "round {round}: {admitted}");
        match circuit.snapshot().state {
            State::Closed => assert!(round % 2 == 0 && admitted == u64::from(PERMITS)),
            // The place that was given back was not taken, and the verdict is open.
            State::HalfOpen => assert!(round % 2 == 0 && admitted < u64::from(PERMITS)),
            state => assert_eq!((state, round % 2), (State::Open, 1)),
        }
        circuit.reset();
    }
}

#[test]
fn a_failure_and_the_success_that_completes_the_minimum_open_the_circuit_in_any_order() {
    let circuit = Circuit::builder("test").failure_rate(0.5).minimum_calls(2).stripes(2).build().unwrap();
    let (begin, end) = (Barrier::new(3), Barrier::new(3));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for outcome in [Outcome::Success, Outcome::Failure] {
            let (circuit, begin, end, stop) = (&circuit, &begin, &end, &stop);
            scope.spawn(move || {
                loop {
                    begin.wait();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    circuit.acquire().unwrap().settle(outcome);
                    end.wait();
                }
            });
        }
        // What a failed assertion would leave waiting is told to stop first.
        let opened = (0..2_000).all(|_| {
            circuit.reset();
            begin.wait();
            end.wait();
            circuit.snapshot().state == State::Open
        });
        stop.store(true, Ordering::Relaxed);
        begin.wait();
        assert!(opened);
    });
}
