//! The latest changes of state, for those who subscribed. It is a part of the machine, so their order is that of the states.

use std::collections::VecDeque;

use super::change::Change;

/// Nothing is kept while nobody reads.
#[derive(Debug, Default)]
pub(super) struct Log(Option<Box<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    changes: VecDeque<Change>,
    /// The number of the first of them.
    first: u64,
    readers: usize,
}

/// How far one reader has read.
#[derive(Debug)]
pub(super) struct Reader {
    next: u64,
    /// Changes that were forgotten before they were read.
    pub(super) missed: u64,
}

impl Log {
    /// A reader that is slower than this misses the oldest.
    pub(super) const KEPT: usize = 64;

    pub(super) fn write(&mut self, change: Change) {
        let Some(kept) = &mut self.0 else { return };
        if kept.changes.len() == Self::KEPT {
            kept.changes.pop_front();
            kept.first += 1;
        }
        kept.changes.push_back(change);
    }

    pub(super) fn subscribe(&mut self) -> Reader {
        let kept = self.0.get_or_insert_default();
        kept.readers += 1;
        Reader { next: kept.first + kept.changes.len() as u64, missed: 0 }
    }

    /// One reader fewer; what was kept for the last one is freed.
    pub(super) fn unsubscribe(&mut self) {
        if let Some(kept) = &mut self.0 {
            kept.readers -= 1;
            if kept.readers == 0 {
                self.0 = None;
            }
        }
    }

    /// The oldest change that `reader` has not read.
    pub(super) fn read(&self, reader: &mut Reader) -> Option<Change> {
        let kept = self.0.as_ref()?;
        if reader.next < kept.first {
            reader.missed += kept.first - reader.next;
            reader.next = kept.first;
        }
        let change = kept.changes.get(usize::try_from(reader.next - kept.first).ok()?)?;
        reader.next += 1;
        Some(*change)
    }
}

#[cfg(all(test, not(portcullis_loom)))]
mod tests {
    use super::*;
    use crate::breaker::State;

    const OPENED: Change = Change { from: State::Closed, to: State::Open, tripped: None };
    const CLOSED: Change = Change { from: State::Open, to: State::Closed, tripped: None };

    #[test]
    fn each_reader_reads_all_since_it_came() {
        let mut log = Log::default();
        let mut early = log.subscribe();
        log.write(OPENED);
        let mut late = log.subscribe();
        log.write(CLOSED);
        assert_eq!(
            [log.read(&mut early), log.read(&mut early), log.read(&mut early)],
            [Some(OPENED), Some(CLOSED), None]
        );
        assert_eq!([log.read(&mut late), log.read(&mut late)], [Some(CLOSED), None]);
    }

    #[test]
    fn a_slow_reader_misses_the_oldest_and_learns_how_many() {
        let mut log = Log::default();
        let mut reader = log.subscribe();
        for _ in 0..Log::KEPT + 3 {
            log.write(OPENED);
        }
        log.write(CLOSED);
        let read: Vec<_> = std::iter::from_fn(|| log.read(&mut reader)).collect();
        assert_eq!((read.len(), read.last(), reader.missed), (Log::KEPT, Some(&CLOSED), 4));
    }

    #[test]
    fn nothing_is_kept_without_a_reader() {
        let mut log = Log::default();
        log.write(OPENED);
        assert!(log.0.is_none());
        let (mut first, _second) = (log.subscribe(), log.subscribe());
        log.write(OPENED);
        log.unsubscribe();
        assert_eq!(log.read(&mut first), Some(OPENED));
        log.unsubscribe();
        assert!(log.0.is_none());
    }
}
