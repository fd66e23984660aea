//! What the rest of the crate knows of the breaker where that is not built: nothing is ever rejected.

use std::{error::Error, fmt};

#[derive(Debug)]
pub(crate) enum Rejected {}

impl fmt::Display for Rejected {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl Error for Rejected {}
