//! Sendings that overlap: one is in the middle of a poll when the next one begins.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use portcullis::retry::{NotReplayed, ReplayBody};

use crate::support::*;

/// A body whose polls say that they have begun, and end when they are told what to say.
struct Held {
    begun: Sender<()>,
    says: Receiver<Says>,
}

impl Body for Held {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.begun.send(()).unwrap();
        match self.says.recv() {
            Ok(Says::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(Says::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(Says::Fails) => Poll::Ready(Some(Err(io::Error::other("failed")))),
            Ok(Says::Panics) => panic!("a body that panics"),
            Ok(Says::Waits) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    }
}

/// The first sending has read "one ", is in the middle of its second poll, and is told what to say once the next sending has
/// read all that is kept. What came of it, and then of the next sending with what the body says from then on.
fn overlap(cap: usize, says: Says, then: impl IntoIterator<Item = Says>) -> (Option<Got>, Vec<Got>) {
    let (begun, wait) = channel();
    let (say, hear) = channel();
    let mut first = replay(cap, Held { begun, says: hear });
    let mut second = first.clone();
    say.send(Says::data("one ")).unwrap();
    assert_eq!(poll(&mut first), Got::data("one "));
    wait.recv().unwrap();
    let polling = thread::spawn(move || poll(&mut first));
    wait.recv().unwrap();

    // Neither of these waits for the poll that is under way.
    let _ = (second.size_hint(), second.is_end_stream(), format!("{second:?}"));
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    assert_eq!(poll_with(&mut second, &waker), Got::data("one "));
    assert_eq!(poll_with(&mut second, &waker), Got::Waits);
    assert_eq!(woken.times(), 0);
    say.send(says).unwrap();
    let first = polling.join().ok();
    assert_eq!(woken.times(), 1);

    then.into_iter().for_each(|says| say.send(says).unwrap());
    drop(say);
    let mut got = Vec::new();
    while got.last() != Some(&Got::End) {
        got.push(poll(&mut second));
    }
    (first, got)
}

const SUPERSEDED: Option<Got> = Some(Got::Refused(NotReplayed::Superseded));

#[test]
fn what_a_poll_brings_that_was_under_way_goes_to_the_next_sending() {
    let (first, second) = overlap(100, Says::data("two "), [Says::data("three")]);
    assert_eq!((first, second), (SUPERSEDED, vec![Got::data("two "), Got::data("three"), Got::End]));

    let (first, second) = overlap(100, Says::Waits, [Says::data("two")]);
    assert_eq!((first, second), (SUPERSEDED, vec![Got::data("two"), Got::End]));

    let (first, second) = overlap(100, Says::trailers(), []);
    assert_eq!(first, SUPERSEDED);
    assert!(matches!(second[..], [Got::Trailers(_), Got::End]), "{second:?}");
}

#[test]
fn a_poll_under_way_that_outgrows_the_cap_takes_nothing_from_the_next_sending() {
    let (first, second) = overlap(5, Says::data("two "), [Says::data("three")]);
    assert_eq!((first, second), (SUPERSEDED, vec![Got::data("two "), Got::data("three"), Got::End]));

    let (first, second) = overlap(5, Says::trailers(), []);
    assert_eq!(first, SUPERSEDED);
    assert!(matches!(second[..], [Got::Trailers(_), Got::End]), "{second:?}");
}

#[test]
fn a_poll_under_way_that_fails_or_panics_ends_the_next_sending() {
    let failed = || vec![Got::Refused(NotReplayed::Failed), Got::End];
    assert_eq!(overlap(100, Says::Fails, []), (SUPERSEDED, failed()));
    assert_eq!(overlap(100, Says::Panics, []), (None, failed()));
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Each thread reads a sending of its own, which begins when the one before is somewhere in the middle.
#[test]
fn sendings_on_many_threads_see_the_body_or_an_error() {
    let whole: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    for round in 0..100 {
        let mut left = Bytes::from(whole.clone());
        let frames = (0..200).map(|_| Says::Data(left.split_to(500)));
        let mut sendings: Vec<ReplayBody<Script>> = vec![replay(usize::MAX, Script::new(frames))];
        for _ in 0..3 {
            sendings.push(sendings.last().unwrap().clone());
        }
        let (begin, mut begins) = channel();
        begin.send(()).unwrap();
        let mut reading = Vec::new();
        for mut body in sendings {
            let (next, nexts) = channel();
            let begun = std::mem::replace(&mut begins, nexts);
            let whole = whole.clone();
            reading.push(thread::spawn(move || {
                begun.recv().unwrap();
                let waker = Waker::from(Arc::new(Unpark(thread::current())));
                let mut read = 0;
                loop {
                    match poll_with(&mut body, &waker) {
                        Got::Data(data) => {
                            assert_eq!(data.chunk(), &whole[read..read + data.len()], "{round}");
                            read += data.len();
                            if read > 20_000 {
                                let _ = next.send(());
                            }
                        }
                        Got::Waits => thread::park(),
                        other => {
                            let _ = next.send(());
                            return (read, other);
                        }
                    }
                }
            }));
        }
        let ended: Vec<_> = reading.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ended[3], (100_000, Got::End), "{round}");
        assert!(ended.iter().all(|(read, got)| *read == 100_000 || *got == SUPERSEDED.unwrap()), "{ended:?}");
    }
}
