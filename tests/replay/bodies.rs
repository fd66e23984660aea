//! One body, sending by sending.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use portcullis::{
    BoxError,
    retry::{NotReplayed, ReplayBody},
};
use proptest::prelude::*;

use crate::support::*;

const CAP: usize = 1 << 20;

#[test]
fn the_first_sending_waits_for_nothing() {
    let script = Script::new([Says::data("one"), Says::Waits, Says::data("two")]);
    let mut first = replay(CAP, script);
    let _copy = first.clone();
    assert_eq!(poll(&mut first), Got::data("one"));
    assert_eq!(poll(&mut first), Got::Waits);
    assert_eq!(poll(&mut first), Got::data("two"));
    assert_eq!(poll(&mut first), Got::End);
    assert_eq!(poll(&mut first), Got::End);
}

#[test]
fn a_later_one_begins_at_the_start_and_reads_on_where_the_first_had_stopped() {
    let script = Script::of(["one ", "two ", "three"]);
    let polls = script.polls();
    let mut first = replay(CAP, script);
    let mut second = first.clone();
    assert_eq!(poll(&mut first), Got::data("one "));
    drop(first);
    let mut third = second.clone();
    assert_eq!([poll(&mut second), poll(&mut second)], [Got::data("one "), Got::data("two ")]);
    assert_eq!(polls.load(SeqCst), 2);
    drop(second);
    assert_eq!(rest(&mut third), (b"one two three".to_vec(), Got::End));
    assert_eq!(polls.load(SeqCst), 4);
}

#[test]
fn an_earlier_one_that_is_still_alive_ends_in_an_error_and_takes_nothing() {
    let script = Script::of(["one ", "two ", "three"]);
    let polls = script.polls();
    let mut first = replay(CAP, script);
    let mut second = first.clone();
    assert_eq!(poll(&mut first), Got::data("one "));
    assert_eq!(poll(&mut second), Got::data("one "));
    assert!(!first.is_end_stream());
    assert_eq!([poll(&mut first), poll(&mut first)], [Got::Refused(NotReplayed::Superseded), Got::End]);
    assert_eq!(polls.load(SeqCst), 1);
    assert_eq!(rest(&mut second), (b"two three".to_vec(), Got::End));
    // One that nobody polled before is no exception, nor is a copy of it.
    let mut first = replay(CAP, Script::of(["one ", "two"]));
    let mut second = first.clone();
    assert_eq!(poll(&mut second), Got::data("one "));
    assert_eq!(poll(&mut first.clone()), Got::Refused(NotReplayed::Superseded));
    assert_eq!(poll(&mut first), Got::Refused(NotReplayed::Superseded));
    assert_eq!(rest(&mut second), (b"two".to_vec(), Got::End));
}

/// A layer further in makes its copy later, and sends it earlier.
#[test]
fn the_copy_of_a_layer_further_out_is_sent_after_that_of_one_further_in() {
    let mut first = replay(CAP, Script::of(["one ", "two"]));
    let mut outer = first.clone();
    let mut inner = first.clone();
    for body in [&mut first, &mut inner, &mut outer] {
        assert_eq!(poll(body), Got::data("one "));
    }
    assert_eq!(poll(&mut inner), Got::Refused(NotReplayed::Superseded));
    assert_eq!(rest(&mut outer), (b"two".to_vec(), Got::End));
}

#[test]
fn an_earlier_one_that_waits_is_woken_to_end() {
    let mut first = replay(CAP, Script::new([Says::data("one"), Says::Waits, Says::Waits]));
    let mut second = first.clone();
    let woken = Arc::<Woken>::default();
    assert_eq!(poll(&mut first), Got::data("one"));
    assert_eq!(poll_with(&mut first, &Waker::from(Arc::clone(&woken))), Got::Waits);
    assert_eq!((poll(&mut second), woken.times()), (Got::data("one"), 1));
    assert_eq!(poll(&mut first), Got::Refused(NotReplayed::Superseded));
    assert_eq!(poll(&mut second), Got::Waits);
}

#[test]
fn trailers_are_replayed() {
    let trailers = || {
        let Says::Trailers(trailers) = Says::trailers() else { unreachable!() };
        Got::Trailers(trailers)
    };
    let mut first = replay(CAP, Script::new([Says::data("one"), Says::trailers()]));
    let (mut second, mut third) = (first.clone(), first.clone());
    assert_eq!(rest(&mut first), (b"one".to_vec(), trailers()));
    assert_eq!(poll(&mut first), Got::End);
    for _ in 0..2 {
        assert_eq!(poll(&mut third), Got::data("one"));
        assert!(!third.is_end_stream(), "trailers follow");
        assert_eq!((poll(&mut third), poll(&mut third)), (trailers(), Got::End));
        assert!(third.is_end_stream());
        third = second.clone();
    }
    // A copy of it has begun.
    assert_eq!(poll(&mut second), Got::Refused(NotReplayed::Superseded));
}

#[test]
fn a_body_of_exactly_the_cap_is_kept_and_one_byte_more_is_sent_once() {
    for (cap, kept) in [(7, true), (6, false), (0, false)] {
        let mut first = replay(cap, Script::of(["one ", "two"]));
        let mut second = first.clone();
        assert_eq!(rest(&mut first), (b"one two".to_vec(), Got::End));
        let expected = if kept { Got::data("one two") } else { Got::Refused(NotReplayed::NotKept) };
        assert_eq!(poll(&mut second), expected, "{cap}");
    }
    // Trailers count too.
    for (cap, kept) in [(10, true), (9, false)] {
        let mut first = replay(cap, Script::new([Says::data("one"), Says::trailers()]));
        let mut second = first.clone();
        rest(&mut first);
        assert_eq!(poll(&mut second) == Got::data("one"), kept, "{cap}");
    }
}

#[test]
fn a_copy_that_cannot_be_sent_does_not_disturb_the_one_that_is() {
    let mut first = replay(3, Script::of(["one ", "two ", "three"]));
    let mut second = first.clone();
    assert_eq!(poll(&mut first), Got::data("one "));
    assert_eq!(poll(&mut second), Got::Refused(NotReplayed::NotKept));
    assert_eq!(rest(&mut first), (b"two three".to_vec(), Got::End));
}

/// A frame that says when nobody holds it any more.
struct Held(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

fn held(frames: usize) -> (Script, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(frames));
    let frame = |_| Says::Data(Bytes::from_owner(Held(vec![7; 8 * 1024], Arc::clone(&count))));
    (Script::new((0..frames).map(frame)), Arc::clone(&count))
}

#[test]
fn nothing_is_kept_that_nobody_can_send() {
    let (script, left) = held(3);
    let mut only = replay(CAP, script);
    drop(poll(&mut only));
    assert_eq!(left.load(SeqCst), 2, "no copy");
    assert_eq!(poll(&mut only.clone()), Got::Refused(NotReplayed::NotKept));

    let (script, left) = held(4);
    let mut first = replay(CAP, script);
    let copy = first.clone();
    drop((poll(&mut first), poll(&mut first)));
    assert_eq!(left.load(SeqCst), 4);
    drop(copy);
    assert_eq!(left.load(SeqCst), 4);
    drop(poll(&mut first));
    assert_eq!(left.load(SeqCst), 1, "the copy is gone");

    let (script, left) = held(4);
    let mut first = replay(2 * 8 * 1024, script);
    let _copy = first.clone();
    drop((poll(&mut first), poll(&mut first)));
    assert_eq!(left.load(SeqCst), 4);
    drop(poll(&mut first));
    assert_eq!(left.load(SeqCst), 1, "it outgrew the cap");
    drop(poll(&mut first));
    assert_eq!((poll(&mut first), left.load(SeqCst)), (Got::End, 0));

    let (script, left) = held(4);
    let (mut first, _second) = {
        let mut first = replay(CAP, script);
        let second = first.clone();
        drop(poll(&mut first));
        (second.clone(), second)
    };
    drop((poll(&mut first), poll(&mut first)));
    assert_eq!(left.load(SeqCst), 2, "the one that is still there is over");
}

#[test]
fn large_frames_are_kept_without_a_copy_and_small_ones_without_their_buffer() {
    let large = Bytes::from(vec![1; 4096]);
    let script = Script::new([Says::data("a"), Says::data("b"), Says::Data(large.clone()), Says::data("c")]);
    let mut first = replay(CAP, script);
    let mut second = first.clone();
    while poll(&mut first) != Got::End {}
    assert_eq!(poll(&mut second), Got::data("ab"));
    let Got::Data(again) = poll(&mut second) else { panic!("data") };
    assert_eq!((again.as_ptr(), again.len()), (large.as_ptr(), large.len()));
    assert_eq!([poll(&mut second), poll(&mut second)], [Got::data("c"), Got::End]);

    let buffer = Bytes::from(vec![1; 1 << 16]);
    let script = Script::new((0..16).map(|at| Says::Data(buffer.slice(at..at + 1))));
    let mut first = replay(CAP, script);
    let _second = first.clone();
    while poll(&mut first) != Got::End {}
    assert!(buffer.is_unique());
}

#[test]
fn what_is_gathered_is_given_in_pieces() {
    let script = Script::new((0..200).map(|_| Says::Data(Bytes::from(vec![1; 1000]))));
    let mut first = replay(CAP, script);
    let mut second = first.clone();
    assert_eq!(rest(&mut first).0.len(), 200_000);
    let Got::Data(piece) = poll(&mut second) else { panic!("data") };
    assert!((64 << 10..72 << 10).contains(&piece.len()), "{}", piece.len());
    assert_eq!(piece.len() + rest(&mut second).0.len(), 200_000);
}

#[test]
fn frames_of_nothing_are_passed_on_and_cost_nothing() {
    let mut first = replay(0, Script::of(["", "", ""]));
    let mut second = first.clone();
    assert_eq!([poll(&mut first), poll(&mut first)], [Got::data(""), Got::data("")]);
    assert_eq!([poll(&mut second), poll(&mut second)], [Got::data(""), Got::End]);
}

#[test]
fn an_error_of_the_body_goes_to_its_reader_and_ends_replays() {
    let mut first = replay(CAP, Script::new([Says::data("one"), Says::Fails, Says::data("two")]));
    let mut second = first.clone();
    assert_eq!([poll(&mut first), poll(&mut first), poll(&mut first)], [Got::data("one"), Got::Failed, Got::End]);
    assert_eq!(second.size_hint().exact(), None);
    let expected = [Got::data("one"), Got::Refused(NotReplayed::Failed), Got::End];
    assert_eq!([poll(&mut second), poll(&mut second), poll(&mut second)], expected);
}

#[test]
fn a_body_that_panics_ends_replays_too() {
    let mut first = replay(CAP, Script::new([Says::data("one"), Says::Panics]));
    let mut second = first.clone();
    assert_eq!(poll(&mut first), Got::data("one"));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut first))).is_err());
    assert_eq!([poll(&mut second), poll(&mut second)], [Got::data("one"), Got::Refused(NotReplayed::Failed)]);
    // Whoever polls the one that has panicked gets no data either, and no panic.
    let mut third = second.clone();
    assert_eq!([poll(&mut third), poll(&mut third)], [Got::data("one"), Got::Refused(NotReplayed::Failed)]);
    assert_ne!(poll(&mut first), Got::Waits);
}

#[test]
fn errors_are_boxed_flat() {
    fn boxed(body: &mut ReplayBody<Script>) -> BoxError {
        loop {
            match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Err(error))) => return error.into(),
                Poll::Ready(Some(Ok(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let mut first = replay(CAP, Script::new([Says::Fails]));
    let mut second = first.clone();
    assert_eq!(boxed(&mut first).downcast::<std::io::Error>().unwrap().to_string(), "the disk is gone");
    assert_eq!(*boxed(&mut second).downcast::<NotReplayed>().unwrap(), NotReplayed::Failed);
}

#[test]
fn the_length_that_is_left_is_known_to_each_sending_at_each_step() {
    let exact = |body: &ReplayBody<Script>| (body.size_hint().exact(), body.is_end_stream());
    let mut first = replay(CAP, Script::of(["one ", "two"]).that_knows_its_length());
    let mut second = first.clone();
    assert_eq!((exact(&first), exact(&second)), ((Some(7), false), (Some(7), false)));
    poll(&mut first);
    assert_eq!((exact(&first), exact(&second)), ((Some(3), false), (Some(7), false)));
    poll(&mut first);
    // Whoever believes this does not poll again.
    assert_eq!((exact(&first), exact(&second)), ((Some(0), true), (Some(7), false)));
    drop(first);
    let third = second.clone();
    assert_eq!((poll(&mut second), exact(&second)), (Got::data("one two"), (Some(0), true)));
    assert_eq!((poll(&mut second), exact(&second), exact(&third)), (Got::End, (Some(0), true), (Some(7), false)));

    // Its length is known once its end is.
    let mut first = replay(CAP, Script::of(["one ", "two"]));
    let second = first.clone();
    poll(&mut first);
    assert_eq!((first.size_hint().lower(), second.size_hint().lower()), (0, 4));
    assert_eq!((first.size_hint().upper(), second.size_hint().upper()), (None, None));
    rest(&mut first);
    assert_eq!(exact(&second), (Some(7), false));
}

#[test]
fn a_hint_beyond_measure_does_not_overflow() {
    struct Boundless(VecDeque<&'static [u8]>);
    impl Body for Boundless {
        // Not `Bytes`: what is not is copied.
        type Data = &'static [u8];
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<&'static [u8]>, Self::Error>>> {
            Poll::Ready(self.0.pop_front().map(|data| Ok(Frame::data(data))))
        }
        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(u64::MAX)
        }
    }
    let mut first = replay(CAP, Boundless([&b"one"[..]].into()));
    let mut second = first.clone();
    assert_eq!(poll(&mut first), Got::data("one"));
    assert_eq!(second.size_hint().exact(), Some(u64::MAX));
    assert_eq!(rest(&mut second), (b"one".to_vec(), Got::End));
}

#[test]
fn an_empty_body_is_as_good_as_none() {
    let mut empty = replay(0, Script::of([]).that_knows_its_length());
    assert!(empty.is_end_stream() && empty.clone().is_end_stream());
    assert_eq!(empty.size_hint().exact(), Some(0));
    assert_eq!(poll(&mut empty.clone()), Got::End);
    assert_eq!(poll(&mut empty), Got::End);
}

#[test]
fn it_goes_where_the_body_goes_and_shows_nothing() {
    fn anywhere<T: Send + Sync + Unpin>(_: &T) {}
    let body = replay(CAP, Script::of(["secret"]));
    anywhere(&body);
    assert_eq!(format!("{body:?}"), "ReplayBody { .. }");
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Poll(usize),
    Copy(usize),
    Drop(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let which = 0..6_usize;
    prop_oneof![5 => which.clone().prop_map(Act::Poll), 2 => which.clone().prop_map(Act::Copy), 1 => which.prop_map(Act::Drop)]
}

proptest! {
    /// Whatever is done, each sending sees the body from its start and in its order, or an error; never a gap.
    #[test]
    fn no_sending_sees_anything_but_the_body(
        lengths in prop::collection::vec(prop_oneof![0..50_usize, 4000..5000_usize], 0..8),
        cap in prop_oneof![0..100_usize, 0..20_000_usize],
        acts in prop::collection::vec(act(), 0..60),
    ) {
        let whole: Vec<u8> = (0..=u8::MAX).cycle().take(lengths.iter().sum()).collect();
        let mut left = Bytes::from(whole.clone());
        let script = Script::new(lengths.iter().map(|&length| Says::Data(left.split_to(length))));
        let mut sendings = vec![(replay(cap, script), 0)];
        for act in acts {
            match act {
                Act::Poll(which) => {
                    let Some((body, read)) = sendings.get_mut(which) else { continue };
                    match poll(body) {
                        Got::Data(data) => {
                            prop_assert_eq!(data.chunk(), &whole[*read..*read + data.len()]);
                            *read += data.len();
                        }
                        Got::End => {
                            prop_assert!(*read == whole.len() || *read == usize::MAX);
                            prop_assert!(body.is_end_stream());
                        }
                        Got::Refused(NotReplayed::NotKept | NotReplayed::Superseded) => *read = usize::MAX,
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                Act::Copy(which) => {
                    if let Some((body, _)) = sendings.get(which) {
                        sendings.push((body.clone(), 0));
                    }
                }
                Act::Drop(which) => {
                    if which < sendings.len() {
                        sendings.remove(which);
                    }
                }
            }
        }
    }
}
