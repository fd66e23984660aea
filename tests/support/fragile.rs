//! A classifier that panics when it is cloned, once it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use portcullis::outcome::{Classify, Outcome};

#[derive(Default)]
pub(crate) struct Fragile {
    pub(crate) breaks: Arc<AtomicBool>,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!self.breaks.load(SeqCst), "cloned");
        Self { breaks: Arc::clone(&self.breaks) }
    }
}

impl<Res, Err> Classify<Res, Err> for Fragile {
    fn classify(&self, _: Result<&Res, &Err>) -> Outcome {
        Outcome::Success
    }
}
