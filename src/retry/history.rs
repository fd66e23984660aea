//! What the attempts of a call ended with, in two words that are copied with each mark.

use std::fmt;

use http::StatusCode;

use super::Cause;

/// How many it remembers.
const KEPT: usize = 8;

/// The causes of the last retries, the earliest first, and then zeros: the first four in one word, the others in the next.
///
/// Words are made and copied as such, where an array would be written as a whole and read in parts.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct History(u64, u64);

impl History {
    pub(super) const NONE: Self = Self(0, 0);

    /// Forgets the earliest where there is no place.
    pub(super) fn push(&mut self, cause: Cause) {
        let mut packed = self.packed();
        if packed[KEPT - 1] != 0 {
            packed.rotate_left(1);
            packed[KEPT - 1] = 0;
        }
        if let Some(free) = packed.iter_mut().find(|packed| **packed == 0) {
            *free = pack(cause);
        }
        let [a, b, c, d, e, f, g, h] = packed;
        *self = Self(word([a, b, c, d]), word([e, f, g, h]));
    }

    fn packed(self) -> [u16; KEPT] {
        let ([a, b, c, d], [e, f, g, h]) = (parts(self.0), parts(self.1));
        [a, b, c, d, e, f, g, h]
    }

    pub(super) fn causes(self) -> impl DoubleEndedIterator<Item = Cause> + use<> {
        self.packed().into_iter().filter_map(unpack)
    }

    pub(super) fn last(self) -> Option<Cause> {
        self.causes().next_back()
    }
}

fn word(parts: [u16; 4]) -> u64 {
    parts.into_iter().rev().fold(0, |word, part| word << 16 | u64::from(part))
}

#[expect(clippy::cast_possible_truncation, reason = "a quarter of it")]
fn parts(word: u64) -> [u16; 4] {
    [0, 16, 32, 48].map(|from| (word >> from) as u16)
}

/// Statuses are from 100 to 999.
fn pack(cause: Cause) -> u16 {
    match cause {
        Cause::Response => 1,
        Cause::Error => 2,
        Cause::Timeout => 3,
        Cause::Status(status) => status.as_u16(),
    }
}

fn unpack(word: u16) -> Option<Cause> {
    match word {
        1 => Some(Cause::Response),
        2 => Some(Cause::Error),
        3 => Some(Cause::Timeout),
        status => StatusCode::from_u16(status).ok().map(Cause::Status),
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.causes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_the_last_eight_in_their_order() {
        let status = |code| Cause::Status(StatusCode::from_u16(code).unwrap());
        let all = [
            Cause::Error,
            status(100),
            status(999),
            Cause::Timeout,
            Cause::Response,
            status(503),
            status(503),
            Cause::Error,
            status(429),
            Cause::Response,
        ];
        let mut history = History::default();
        assert_eq!(history.last(), None);
        for (number, cause) in all.into_iter().enumerate() {
            history.push(cause);
            let expected = &all[(number + 1).saturating_sub(KEPT)..=number];
            assert_eq!(history.causes().collect::<Vec<_>>(), expected);
            assert_eq!(history.last(), Some(cause));
        }
    }
}
