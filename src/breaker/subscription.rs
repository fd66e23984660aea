//! Hearing of every change of state.

use super::{
    change::Change,
    circuit::{Circuit, WeakCircuit},
    log::Reader,
};

/// The changes of one circuit's state, in their order; made by [`Circuit::subscribe`].
///
/// It holds no circuit alive, and ends when the last handle is gone. A circuit keeps the latest 64 changes for those who are
/// slower than it, and never waits for them: what is missed is [counted](Self::missed). Dropped, it costs nothing any more.
///
/// ```
/// use portcullis::breaker::{Circuit, State, Trip};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let circuit = Circuit::builder("customer-api").consecutive_failures(2).build()?;
/// let mut changes = circuit.subscribe();
/// circuit.acquire().unwrap().failure();
/// circuit.acquire().unwrap().failure();
///
/// let change = changes.next().await.expect("the circuit is there");
/// assert_eq!((change.from, change.to), (State::Closed, State::Open));
/// assert_eq!(change.tripped, Some(Trip::ConsecutiveFailures { failures: 2 }));
/// assert_eq!(change.to_string(), "closed to open: 2 failures in a row");
/// drop(circuit);
/// assert_eq!(changes.next().await, None);
/// # Ok::<(), portcullis::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a subscription that is dropped hears of nothing"]
pub struct Subscription {
    circuit: WeakCircuit,
    reader: Reader,
}

impl Subscription {
    pub(super) fn new(circuit: &Circuit) -> Self {
        Self { circuit: circuit.downgrade(), reader: circuit.core().subscribe() }
    }

    /// Waits for the next change; `None` once the circuit is gone, with what was not read by then.
    ///
    /// Dropping the future loses no change.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let changed = {
                let circuit = self.circuit.upgrade()?;
                // Made before the log is read, so that no change falls between the two.
                let changed = circuit.changed();
                if let Some(change) = circuit.core().read(&mut self.reader) {
                    return Some(change);
                }
                changed
            };
            changed.await;
        }
    }

    /// The next change, where there is one already.
    pub fn try_next(&mut self) -> Option<Change> {
        self.circuit.upgrade()?.core().read(&mut self.reader)
    }

    /// How many changes were missed since the subscription was made, because 64 others came before they were read.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.reader.missed
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(circuit) = self.circuit.upgrade() {
            circuit.core().unsubscribe();
        }
    }
}
