//! Each model is a race that the seam has to survive, in every order in which its threads can step.

use std::{num::NonZero, sync::atomic::Ordering, time::Duration};

use loom::{sync::Arc, thread};

use super::{
    bell::Bell,
    change::Change,
    half_open::HalfOpen,
    log::Reader,
    opening::Opening,
    phase::ByHand,
    plan::{Ending, Plan},
    refusal::Refusal,
    rules::{Rate, Rules, Trip},
    shared::Shared,
    snapshot::{Snapshot, State},
    window::{Call, Length},
    word::Gate,
};
use crate::{search, time::Tick};

/// A bucket takes one of these: the window of two buckets takes two.
const BUCKET: u64 = 1_000_000;
const OPEN_FOR: u64 = 10 * BUCKET;
const HALF_OPEN_TIMEOUT: u64 = 100 * BUCKET;

const OK: Call = Call { failed: false, slow: false, nanos: 0 };
const FAILED: Call = Call { failed: true, slow: false, nanos: 0 };

fn rules() -> Rules {
    Rules {
        consecutive_failures: None,
        failures: None,
        failure_rate: None,
        slow_call_rate: None,
        mean_latency: None,
        minimum_calls: 1,
    }
}

fn circuit(rules: Rules) -> Arc<Shared> {
    Arc::new(Shared::new(plan(rules), 2))
}

const fn plan(rules: Rules) -> Plan {
    Plan {
        rules,
        window: Length::Time(Duration::from_nanos(2 * BUCKET)),
        slow_call: u64::MAX,
        opening: Opening { first: OPEN_FOR, growth: 1.0, longest: OPEN_FOR, jitter: 0.0, hint_max: 0, random: || 0.0 },
        half_open: HalfOpen::permits(1).timeout(Duration::from_nanos(HALF_OPEN_TIMEOUT)),
    }
}

const fn at(bucket: u64) -> Tick {
    Tick::from_nanos(bucket * BUCKET)
}

/// As the circuit admits a call: by what it reads, or under the lock; and as it says why not, by what it reads then.
fn admit(shared: &Shared, now: Tick) -> Result<u64, Refusal> {
    let control = shared.control();
    if control.gate().is_free() {
        return Ok(control.generation());
    }
    let refused = |control| {
        let refusal = shared.refusal(control, now, 0);
        refusal.unwrap_or_else(|| shared.step(now, |machine, plan| (machine.refusal(plan, now), None)).0)
    };
    if shared.would_refuse(control, now) {
        return Err(refused(control));
    }
    let admitted = shared.step(now, |machine, plan| machine.admit(plan, now)).0;
    admitted.ok_or_else(|| refused(shared.control()))
}

/// As the circuit hears of an outcome.
fn settle(shared: &Shared, stripe: usize, generation: u64, call: Call, now: Tick) {
    let control = shared.control();
    if control.generation() != generation {
        return;
    }
    let stripes = shared.stripes().expect("a time window");
    if matches!(control.gate(), Gate::Counting | Gate::Noted) {
        if let Some(counted) = shared.count(stripes, stripe, generation, call, now)
            && control.gate() == Gate::Counting
        {
            shared.judge(stripes, counted, generation, None, now);
        }
    } else {
        shared.step(now, |machine, plan| ((), machine.settle(plan, generation, Some(call), None, now)));
    }
}

fn snapshot(shared: &Shared, now: Tick) -> Snapshot {
    shared.snapshot(now).0
}

/// Lets two threads do it, each with its number.
fn two(shared: &Arc<Shared>, work: impl Fn(usize, &Shared) + Copy + Send + Sync + 'static) {
    let threads = [0, 1].map(|number| {
        let shared = Arc::clone(shared);
        thread::spawn(move || work(number, &shared))
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A reader of the changes from now on, and the state that they begin from.
fn subscribe(shared: &Shared) -> (Reader, State) {
    shared.step(at(0), |machine, _| ((machine.log.subscribe(), machine.phase().state()), None)).0
}

fn read(shared: &Shared, reader: &mut Reader) -> Option<Change> {
    shared.step(at(0), |machine, _| (machine.log.read(reader), None)).0
}

fn opened_once_by_a_failure() -> Arc<Shared> {
    let shared = circuit(Rules { consecutive_failures: NonZero::new(1), ..rules() });
    settle(&shared, 0, admit(&shared, at(0)).unwrap(), FAILED, at(0));
    assert_eq!(snapshot(&shared, at(0)).state, State::Open);
    shared
}

#[test]
fn a_call_that_is_admitted_while_the_circuit_opens_changes_nothing() {
    search("admission against transition", || {
        let shared = circuit(Rules { consecutive_failures: NonZero::new(1), ..rules() });
        two(&shared, |number, shared| {
            if let Ok(generation) = admit(shared, at(0)) {
                settle(shared, number, generation, FAILED, at(0));
            }
        });
        let Snapshot { state, opened, .. } = snapshot(&shared, at(0));
        assert_eq!((state, opened), (State::Open, 1));
        assert!(admit(&shared, at(0)).is_err());
    });
}

#[test]
fn of_a_failure_and_the_success_that_completes_the_minimum_one_sees_the_other() {
    search("horizon against outcome", || {
        let shared = circuit(Rules { failure_rate: Rate::new(0.5), minimum_calls: 2, ..rules() });
        two(&shared, |number, shared| {
            let generation = admit(shared, at(0)).unwrap();
            settle(shared, number, generation, if number == 0 { FAILED } else { OK }, at(0));
        });
        assert_eq!(snapshot(&shared, at(0)).state, State::Open, "one of two failed");
    });
}

#[test]
fn two_failures_in_different_stripes_are_seen_together() {
    search("two bad outcomes", || {
        let shared = circuit(Rules { failures: NonZero::new(2), ..rules() });
        two(&shared, |number, shared| {
            let generation = admit(shared, at(0)).unwrap();
            settle(shared, number, generation, FAILED, at(0));
        });
        assert_eq!(snapshot(&shared, at(0)).opened, 1);
    });
}

#[test]
fn a_success_after_old_successes_left_sees_a_failure_that_ends_meanwhile() {
    search("ageing against outcome", || {
        let shared = circuit(Rules { failure_rate: Rate::new(0.5), minimum_calls: 2, ..rules() });
        for _ in 0..3 {
            settle(&shared, 0, 0, OK, at(0));
        }
        // Bucket 2 has taken the place of bucket 0, whose successes are gone.
        two(&shared, |number, shared| settle(shared, number, 0, if number == 0 { FAILED } else { OK }, at(2)));
        assert_eq!(snapshot(&shared, at(2)).state, State::Open);
    });
}

#[test]
fn no_outcome_is_lost_when_a_bucket_turns_over() {
    search("turnover against recording", || {
        let shared = circuit(Rules { failures: NonZero::new(100), ..rules() });
        settle(&shared, 0, 0, FAILED, at(0));
        // Both in one stripe and in the place of bucket 0.
        two(&shared, |_, shared| settle(shared, 0, 0, FAILED, at(2)));
        let Snapshot { calls, failures, .. } = snapshot(&shared, at(2));
        assert_eq!((calls, failures), (2, 2));
    });
}

#[test]
fn an_outcome_that_comes_late_for_its_bucket_takes_none_from_the_next() {
    search("a late clock against turnover", || {
        let shared = circuit(Rules { failures: NonZero::new(100), ..rules() });
        two(&shared, |number, shared| settle(shared, 0, 0, OK, at(2 * number as u64)));
        assert_eq!(snapshot(&shared, at(2)).calls, 1);
    });
}

#[test]
fn a_straggler_is_not_heard_in_the_next_generation() {
    search("straggler against a new epoch", || {
        let shared = circuit(Rules { consecutive_failures: NonZero::new(2), ..rules() });
        two(&shared, |number, shared| {
            if number == 0 {
                settle(shared, 0, 0, FAILED, at(0));
            } else {
                shared.step(at(0), |machine, _| ((), machine.set(ByHand::Closed)));
            }
        });
        assert_eq!(snapshot(&shared, at(0)).calls, 0);
        settle(&shared, 0, admit(&shared, at(0)).unwrap(), FAILED, at(0));
        assert_eq!(snapshot(&shared, at(0)).state, State::Closed, "one failure in a row");
    });
}

#[test]
fn a_straggler_opens_no_later_generation() {
    search("straggler's verdict against a new epoch", || {
        let shared = circuit(Rules { consecutive_failures: NonZero::new(1), ..rules() });
        two(&shared, |number, shared| {
            if number == 0 {
                settle(shared, 0, 0, FAILED, at(0));
            } else {
                shared.step(at(0), |machine, _| ((), machine.set(ByHand::Closed)));
            }
        });
        assert_eq!(snapshot(&shared, at(0)).state, State::Closed, "closed by hand, before or after");
    });
}

#[test]
fn a_success_that_saw_nothing_bad_does_not_hide_what_ended_meanwhile() {
    search("horizon against horizon", || {
        let shared = circuit(Rules { failure_rate: Rate::new(0.3), minimum_calls: 3, ..rules() });
        two(&shared, |number, shared| settle(shared, number, 0, if number == 0 { FAILED } else { OK }, at(0)));
        settle(&shared, 0, 0, OK, at(0));
        assert_eq!(snapshot(&shared, at(0)).state, State::Open, "the third call, and one failed");
    });
}

#[test]
fn calls_that_end_meanwhile_make_no_rate_too_high() {
    search("counting against judging", || {
        let shared = circuit(Rules { failure_rate: Rate::new(0.45), minimum_calls: 4, ..rules() });
        for _ in 0..3 {
            settle(&shared, 0, 0, OK, at(0));
        }
        two(&shared, |number, shared| settle(shared, number, 0, FAILED, at(0)));
        assert_eq!(snapshot(&shared, at(0)).state, State::Closed, "one of 4 failed, and then two of 5");
    });
}

#[test]
fn one_place_is_given_to_one_probe() {
    search("two probes for one permit", || {
        let shared = opened_once_by_a_failure();
        let admitted = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&admitted);
        let threads = [(); 2].map(|()| {
            let (shared, count) = (Arc::clone(&shared), Arc::clone(&count));
            thread::spawn(move || {
                if admit(&shared, at(10)).is_ok() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(admitted.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_rejection_reads_figures_that_belong_together() {
    search("rejection against transition", || {
        let shared = opened_once_by_a_failure();
        two(&shared, |number, shared| {
            if number == 0 {
                let generation = admit(shared, at(10)).unwrap();
                settle(shared, 0, generation, FAILED, at(11));
            } else if let Err(refusal) = admit(shared, at(9)) {
                let told = (refusal.cause.trip(), refusal.retry_after().map(|span| span.as_nanos() as u64 / BUCKET));
                let first = (Some(Trip::ConsecutiveFailures { failures: 1 }), Some(1));
                let half_open = (first.0, None);
                let second = (Some(Trip::Probes { failures: 1, permits: 1 }), Some(12));
                assert!([first, half_open, second].contains(&told), "{told:?}");
            }
        });
        let Snapshot { state, opened, .. } = snapshot(&shared, at(11));
        assert_eq!((state, opened), (State::Open, 2));
    });
}

#[test]
fn a_dropped_probe_and_the_end_of_its_period_agree() {
    search("drop against verdict", || {
        let shared = opened_once_by_a_failure();
        let generation = admit(&shared, at(10)).unwrap();
        two(&shared, move |number, shared| {
            if number == 0 {
                let call = Ending::Dropped.call(0, u64::MAX);
                shared.step(at(20), |machine, plan| ((), machine.settle(plan, generation, call, None, at(20))));
            } else {
                let _ = admit(shared, at(110));
            }
        });
        let Snapshot { state, opened, .. } = snapshot(&shared, at(110));
        assert!(matches!((state, opened), (State::Open, 2)), "{state} {opened}");
    });
}

#[test]
fn a_circuit_that_is_forced_open_stays_so() {
    search("forced states against calls", || {
        let shared = circuit(Rules { consecutive_failures: NonZero::new(1), ..rules() });
        two(&shared, |number, shared| {
            if number == 0 {
                shared.step(at(0), |machine, _| ((), machine.set(ByHand::ForcedOpen)));
            } else if let Ok(generation) = admit(shared, at(0)) {
                settle(shared, 0, generation, FAILED, at(0));
            }
        });
        assert_eq!(snapshot(&shared, at(0)).state, State::ForcedOpen);
        assert!(admit(&shared, at(1000)).is_err());
    });
}

#[test]
fn what_was_counted_before_an_outcome_is_told_is_seen_by_whoever_reads() {
    search("counting against reading", || {
        let shared = circuit(Rules { failure_rate: Rate::new(0.6), minimum_calls: 3, ..rules() });
        settle(&shared, 0, 0, OK, at(0));
        two(&shared, |number, shared| {
            if number == 0 {
                settle(shared, 0, 0, FAILED, at(0));
            } else {
                let Snapshot { calls, failures, .. } = snapshot(shared, at(0));
                assert!(failures < calls && calls <= 2, "{failures} of {calls}");
            }
        });
    });
}

/// Whoever listens sees the change or is woken by it, with a bell that may be `made` before.
fn listening_against_transition(name: &str, made: bool) {
    search(name, move || {
        let shared = circuit(Rules { consecutive_failures: NonZero::new(1), ..rules() });
        let bell = Arc::new(Bell::default());
        if made {
            drop(bell.listen());
        }
        let listener = {
            let (shared, bell) = (Arc::clone(&shared), Arc::clone(&bell));
            thread::spawn(move || {
                let heard = bell.listen();
                // As a service's readiness does: without the lock.
                (shared.control().gate(), heard)
            })
        };
        shared.step(at(0), |machine, _| ((), machine.set(ByHand::ForcedOpen)));
        bell.ring();
        let (seen, heard) = listener.join().unwrap();
        assert!(seen != Gate::Counting || heard.is_heard(), "it would wait for what has happened");
    });
}

#[test]
fn no_wake_up_is_lost_by_the_first_who_listens() {
    listening_against_transition("the first listener against transition", false);
}

#[test]
fn no_wake_up_is_lost_by_those_who_follow() {
    listening_against_transition("a later listener against transition", true);
}

#[test]
fn two_who_listen_first_hear_the_same_bell() {
    search("two first listeners against transition", || {
        let bell = Arc::new(Bell::default());
        let listeners = [(); 2].map(|()| {
            let bell = Arc::clone(&bell);
            thread::spawn(move || bell.listen())
        });
        let heard = listeners.map(|listener| listener.join().unwrap());
        bell.ring();
        assert!(heard.iter().all(|heard| heard.is_heard()));
    });
}

#[test]
fn a_subscriber_reads_a_change_or_is_woken_by_it() {
    search("subscriber against transition", || {
        let shared = circuit(Rules { consecutive_failures: NonZero::new(1), ..rules() });
        let bell = Arc::new(Bell::default());
        let (mut reader, _) = subscribe(&shared);
        let subscriber = {
            let (shared, bell) = (Arc::clone(&shared), Arc::clone(&bell));
            thread::spawn(move || {
                let heard = bell.listen();
                (read(&shared, &mut reader), heard)
            })
        };
        settle(&shared, 0, 0, FAILED, at(0));
        bell.ring();
        let (change, heard) = subscriber.join().unwrap();
        assert!(change.is_some() || heard.is_heard(), "it would wait for what has happened");
    });
}

#[test]
fn the_changes_that_a_subscriber_reads_lead_from_the_state_that_it_found_to_that_of_now() {
    search("subscription against two transitions", || {
        let shared = circuit(Rules { consecutive_failures: NonZero::new(1), ..rules() });
        let subscriber = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || subscribe(&shared))
        };
        two(&shared, |number, shared| {
            if number == 0 {
                settle(shared, 0, 0, FAILED, at(0));
            } else {
                shared.step(at(0), |machine, _| ((), machine.set(ByHand::Disabled)));
            }
        });
        let (mut reader, mut state) = subscriber.join().unwrap();
        while let Some(change) = read(&shared, &mut reader) {
            assert_eq!(change.from, state, "none is missing, and none out of its order");
            state = change.to;
        }
        assert_eq!((state, reader.missed), (shared.state(), 0));
    });
}

#[test]
fn limits_that_change_are_those_that_the_next_outcome_is_judged_by() {
    search("changed limits against outcome", || {
        let shared = circuit(Rules { failures: NonZero::new(100), ..rules() });
        two(&shared, |number, shared| {
            if number == 0 {
                shared.reconfigure(plan(Rules { failures: NonZero::new(1), ..rules() }), at(0)).unwrap();
            } else {
                settle(shared, 0, 0, FAILED, at(0));
            }
        });
        settle(&shared, 0, admit(&shared, at(0)).unwrap_or(0), OK, at(0));
        assert_eq!(snapshot(&shared, at(0)).state, State::Open, "one failure is enough by now");
    });
}

#[test]
fn nothing_opens_by_limits_that_never_were() {
    search("old and new limits together", || {
        // Two of two calls failed: too few for the first plan, and for the second no rate is too high.
        let shared = circuit(Rules { failure_rate: Rate::new(0.5), minimum_calls: 3, ..rules() });
        settle(&shared, 0, 0, FAILED, at(0));
        two(&shared, |number, shared| {
            if number == 0 {
                let rules = Rules { failures: NonZero::new(9), minimum_calls: 1, ..rules() };
                shared.reconfigure(plan(rules), at(0)).unwrap();
            } else {
                settle(shared, 0, 0, FAILED, at(0));
            }
        });
        assert_eq!(snapshot(&shared, at(0)).state, State::Closed);
    });
}

#[test]
fn whoever_is_refused_hears_of_an_end_of_the_period_that_has_moved() {
    search("moved end against refusal", || {
        let shared = opened_once_by_a_failure();
        admit(&shared, at(10)).unwrap();
        two(&shared, |number, shared| {
            if number == 0 {
                let half_open = HalfOpen::permits(1).timeout(Duration::from_nanos(BUCKET));
                let rules = Rules { consecutive_failures: NonZero::new(1), ..rules() };
                shared.reconfigure(Plan { half_open, ..plan(rules) }, at(10)).unwrap();
            } else {
                let told = told(admit(shared, at(20)));
                let (full, over) = ((Some(Trip::ConsecutiveFailures { failures: 1 }), None), timed_out());
                assert!([full, over].contains(&told), "{told:?}");
            }
        });
        assert_eq!(told(admit(&shared, at(20))), timed_out());
    });

    fn told(admitted: Result<u64, Refusal>) -> (Option<Trip>, Option<Duration>) {
        let refusal = admitted.unwrap_err();
        (refusal.cause.trip(), refusal.retry_after())
    }

    /// Open again since the new end, for as long as ever.
    fn timed_out() -> (Option<Trip>, Option<Duration>) {
        let bucket = Duration::from_nanos(BUCKET);
        (Some(Trip::HalfOpenTimeout { after: bucket }), Some(bucket))
    }
}
