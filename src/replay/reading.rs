//! Whose turn it is to read a body, and how far it was read.

use std::{mem, task::Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::{NotReplayed, kept::Kept};

/// What all sendings of one body know of it.
pub(super) struct Reading {
    cap: usize,
    /// What is kept, as the cap counts it.
    weight: usize,
    kept: Kept,
    trailers: Option<HeaderMap>,
    /// Whether all that was read is kept; else nothing is.
    whole: bool,
    /// Those that may still be read. Each stands before its copies, which are sent after it, and a later copy of it before an
    /// earlier one: the earlier one belongs to a layer further out.
    order: Vec<Id>,
    ids: u64,
    /// Whether the first of them has begun.
    begun: bool,
    /// Whether the original body is being polled at this moment.
    busy: bool,
    original: Original,
    rest: Rest,
    /// Of whoever reads, or waits for the one before to be done with a poll.
    waker: Option<Waker>,
}

/// One sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u64);

impl Id {
    pub(super) const FIRST: Self = Self(0);
}

/// How far one sending has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    /// In what was kept: this piece is next, after so many bytes.
    Kept {
        piece: usize,
        read: usize,
    },
    Original,
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Original {
    Open,
    Ended,
    Failed,
}

/// What the original body says of what is left of it.
#[derive(Clone)]
pub(super) struct Rest {
    pub(super) hint: SizeHint,
    pub(super) is_end: bool,
}

/// What one sending is to do next.
pub(super) enum Step {
    Give(Frame<Bytes>),
    Refuse(NotReplayed),
    End,
    /// The one before is in the middle of a poll.
    Wait,
    /// It is to poll the original body, and to [`record`](Reading::record) what came of it.
    Read,
}

/// What a poll of the original body came to.
pub(super) enum Polled {
    Pending,
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    Failed,
}

/// What is for after the lock, since nobody else's code runs under it: whom to wake, and what to drop.
#[derive(Default)]
pub(super) struct After {
    pub(super) wake: Option<Waker>,
    pub(super) kept: Option<Kept>,
    pub(super) waker: Option<Waker>,
}

impl Reading {
    pub(super) fn new(cap: usize, rest: Rest) -> Self {
        Self {
            cap,
            weight: 0,
            kept: Kept::default(),
            trailers: None,
            whole: true,
            order: vec![Id::FIRST],
            ids: 0,
            begun: false,
            busy: false,
            original: Original::Open,
            rest,
            waker: None,
        }
    }

    fn position(&self, id: Id) -> Option<usize> {
        self.order.iter().position(|&other| other == id)
    }

    /// A copy of `id`, which begins at the start.
    pub(super) fn copy(&mut self, id: Id) -> Id {
        self.ids += 1;
        let copy = Id(self.ids);
        // The copy of one that is over is over.
        if let Some(at) = self.position(id) {
            self.order.insert(at + 1, copy);
        }
        copy
    }

    /// `id` is gone.
    pub(super) fn forget(&mut self, id: Id) -> After {
        let mut after = After::default();
        if let Some(at) = self.position(id) {
            self.order.remove(at);
            if at == 0 && mem::take(&mut self.begun) {
                after.waker = self.waker.take();
            }
        }
        after
    }

    /// Whether a copy can still be sent. If so, whoever is reading is over from now on, so that it stays so.
    pub(super) fn reclaim(&mut self) -> (bool, After) {
        let mut after = After::default();
        let again = self.whole && self.original != Original::Failed;
        if again && mem::take(&mut self.begun) {
            self.order.remove(0);
            after.wake = self.waker.take();
        }
        (again, after)
    }

    pub(super) fn step(&mut self, id: Id, place: &mut Place) -> (Step, After) {
        let mut after = After::default();
        let step = self.step_into(id, place, &mut after);
        if let Step::Refuse(_) | Step::End = step {
            *place = Place::End;
        }
        (step, after)
    }

    fn step_into(&mut self, id: Id, place: &mut Place, after: &mut After) -> Step {
        let Some(at) = self.position(id) else { return Step::Refuse(NotReplayed::Superseded) };
        if *place == Place::Start {
            if !self.whole {
                // Whoever reads is not disturbed by one that cannot.
                self.order.remove(at);
                return Step::Refuse(NotReplayed::NotKept);
            }
            // Those that are sent before it are over.
            self.order.drain(..at);
            self.begun = true;
            after.wake = self.waker.take();
            *place = Place::Kept { piece: 0, read: 0 };
        }
        if let Place::Kept { piece, read } = place {
            if let Some(data) = self.kept.piece(*piece) {
                *piece += 1;
                *read += data.len();
                return Step::Give(Frame::data(data));
            }
            if self.busy {
                return Step::Wait;
            }
            *place = Place::Original;
        }
        match (self.original, &self.trailers) {
            (Original::Open, _) => {
                self.busy = true;
                Step::Read
            }
            (Original::Failed, _) => Step::Refuse(NotReplayed::Failed),
            (Original::Ended, None) => Step::End,
            (Original::Ended, Some(trailers)) => {
                *place = Place::End;
                Step::Give(Frame::trailers(trailers.clone()))
            }
        }
    }

    /// Has `waker` woken when the poll under way is over; `false` where it is, or where `id` is.
    pub(super) fn wait(&mut self, id: Id, waker: Waker) -> (bool, After) {
        let mut after = After::default();
        let waits = self.busy && self.position(id).is_some();
        after.waker = if waits { self.waker.replace(waker) } else { Some(waker) };
        (waits, after)
    }

    /// Takes down what a poll by `id` came to, with what the original body says of the rest where it is still open; the waker is
    /// the one that it was polled with. `false` where `id` is over: what it was given is for the next one.
    pub(super) fn record(
        &mut self,
        id: Id,
        place: &mut Place,
        polled: &Polled,
        rest: Option<Rest>,
        waker: Option<Waker>,
    ) -> (bool, After) {
        let mut after = After::default();
        let current = self.position(id).is_some();
        self.busy = false;
        if let Some(rest) = rest {
            self.rest = rest;
        }
        match polled {
            Polled::Pending => {}
            Polled::Data(data) => {
                if !data.is_empty() && self.may_keep(data.len(), current, &mut after) {
                    self.kept.push(data);
                }
            }
            Polled::Trailers(trailers) => {
                let weight = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
                if self.may_keep(weight, current, &mut after) {
                    self.trailers = Some(trailers.clone());
                }
                self.original = Original::Ended;
            }
            Polled::End => self.original = Original::Ended,
            Polled::Failed => self.original = Original::Failed,
        }
        if !current {
            after.wake = self.waker.take();
            after.waker = waker;
        } else if waker.is_some() {
            after.waker = mem::replace(&mut self.waker, waker);
        }
        if !current || self.original != Original::Open {
            *place = Place::End;
        }
        (current, after)
    }

    /// Whether `weight` more is to be kept; else all that was kept is let go.
    fn may_keep(&mut self, weight: usize, current: bool, after: &mut After) -> bool {
        self.weight = self.weight.saturating_add(weight);
        // One that is over does not pass on what it was given, so that has to be kept whatever the cap; it is one frame.
        let keep = !current || (self.weight <= self.cap && self.order.len() > 1);
        if self.whole && !keep {
            self.whole = false;
            after.kept = Some(mem::take(&mut self.kept));
        }
        self.whole
    }

    /// What is left of the kept data for `id`; none where it will be refused.
    fn left(&self, id: Id, place: Place) -> Option<usize> {
        self.position(id)?;
        match place {
            Place::Start => self.whole.then_some(self.kept.length()),
            Place::Kept { read, .. } => Some(self.kept.length() - read),
            Place::Original | Place::End => Some(0),
        }
    }

    pub(super) fn size_hint(&self, id: Id, place: Place) -> SizeHint {
        let left = match (place, self.left(id, place), self.original) {
            (Place::End, ..) => return SizeHint::with_exact(0),
            (_, None, _) | (_, _, Original::Failed) => return SizeHint::default(),
            (_, Some(left), Original::Ended) => return SizeHint::with_exact(left as u64),
            (_, Some(left), Original::Open) => left as u64,
        };
        let mut hint = SizeHint::new();
        hint.set_lower(self.rest.hint.lower().saturating_add(left));
        if let Some(upper) = self.rest.hint.upper() {
            hint.set_upper(upper.saturating_add(left));
        }
        hint
    }

    pub(super) fn is_end_stream(&self, id: Id, place: Place) -> bool {
        let nothing_more = match self.original {
            Original::Open => self.rest.is_end,
            Original::Ended => self.trailers.is_none(),
            Original::Failed => false,
        };
        place == Place::End || (nothing_more && self.left(id, place) == Some(0))
    }
}

#[cfg(test)]
mod tests;
