//! Wakes whoever waits for a change of state.

use std::sync::Arc;

use super::sync::{Heard, Notify, OnceLock, fence_all};

/// It is made for the first who listens: until then, a change only looks whether it is there.
#[derive(Default)]
pub(super) struct Bell(OnceLock<Arc<Notify>>);

impl Bell {
    /// Resolves when it rings next, counted from now.
    ///
    /// Whoever listens reads the state after this, and who changed the state looks for listeners after the other fence: of
    /// the two, one sees the other.
    pub(super) fn listen(&self) -> Heard {
        let heard = Arc::clone(self.0.get_or_init(Arc::default)).notified_owned();
        fence_all();
        heard
    }

    /// Says that the state has changed, once others can see that it has.
    pub(super) fn ring(&self) {
        fence_all();
        if let Some(notify) = self.0.get() {
            notify.notify_waiters();
        }
    }
}
