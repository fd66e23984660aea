//! What was read of a body, to be read again.

use std::mem;

use bytes::{Bytes, BytesMut};

/// Smaller frames are copied together: each may be a slice of a read buffer of many times its size, and would keep all of it.
const SMALL: usize = 4 * 1024;
/// As much as is gathered in one piece.
const GATHERED: usize = 64 * 1024;

/// Data in pieces, in their order.
#[derive(Default)]
pub(super) struct Kept {
    pieces: Vec<Bytes>,
    gathered: BytesMut,
    length: usize,
}

impl Kept {
    /// Bytes of data.
    pub(super) const fn length(&self) -> usize {
        self.length
    }

    pub(super) fn push(&mut self, data: &Bytes) {
        self.length += data.len();
        if data.len() >= SMALL {
            self.seal();
            self.pieces.push(data.clone());
        } else {
            self.gathered.extend_from_slice(data);
            if self.gathered.len() >= GATHERED {
                self.seal();
            }
        }
    }

    /// The piece of this number, counted from 0; none where all that is kept is in those before it.
    pub(super) fn piece(&mut self, number: usize) -> Option<Bytes> {
        if number == self.pieces.len() {
            self.seal();
        }
        self.pieces.get(number).cloned()
    }

    /// A piece that was given out never grows.
    fn seal(&mut self) {
        if !self.gathered.is_empty() {
            self.pieces.push(mem::take(&mut self.gathered).freeze());
        }
    }
}
