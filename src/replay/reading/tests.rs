use super::*;

const FIRST: Id = Id::FIRST;

/// The first one is in the middle of a poll, and the second has begun.
fn overlapping() -> (Reading, Id, [Place; 2]) {
    let mut reading = Reading::new(9, Rest { hint: SizeHint::default(), is_end: false });
    let second = reading.copy(FIRST);
    let mut places = [Place::Start; 2];
    assert!(matches!(reading.step(FIRST, &mut places[0]).0, Step::Read));
    assert!(matches!(reading.step(second, &mut places[1]).0, Step::Wait));
    (reading, second, places)
}

#[test]
fn nobody_waits_for_a_poll_that_has_just_ended() {
    let (mut reading, second, mut places) = overlapping();
    assert!(!reading.record(FIRST, &mut places[0], &Polled::Pending, None, None).0);
    assert!(!reading.wait(second, Waker::noop().clone()).0);
    assert!(matches!(reading.step(second, &mut places[1]).0, Step::Read));
}

#[test]
fn one_that_is_over_takes_nobodys_place_in_the_wait() {
    let (mut reading, second, mut places) = overlapping();
    let third = reading.copy(second);
    let mut place = Place::Start;
    assert!(matches!(reading.step(third, &mut place).0, Step::Wait));
    assert!(reading.wait(third, Waker::noop().clone()).0);
    assert!(!reading.wait(second, Waker::noop().clone()).0);
    assert!(matches!(reading.step(second, &mut places[1]).0, Step::Refuse(NotReplayed::Superseded)));
    let (current, after) = reading.record(FIRST, &mut places[0], &Polled::Pending, None, None);
    assert!(!current && after.wake.is_some());
}
