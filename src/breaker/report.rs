//! The state as a metric.

use std::{future::Future, time::Duration};

use super::{
    circuit::{Circuit, WeakCircuit},
    snapshot::State,
};
use crate::time::timeout;

const STATE: &str = "portcullis_circuit_state";

/// Keeps one gauge true: `portcullis_circuit_state`, with the circuit's name as the label `circuit`.
///
/// A future to spawn. It sets the gauge at each change of state, and when a period is over by time alone, with no call
/// to notice it. It holds no circuit alive: when the last handle is gone it ends, and as when its task is aborted the gauge is
/// then `NaN`, which is no state. Two circuits of one name would write to one gauge.
///
/// | value | a call now |
/// | ---: | --- |
/// | 0 | goes through and is counted: closed |
/// | 1 | may go through as a probe: half-open, or open with the open time over |
/// | 2 | is rejected: open |
/// | 3 | is rejected: forced open |
/// | 4 | goes through and is not counted: disabled |
/// | 5 | goes through and is counted, and no rule opens the circuit: observing |
///
/// It is a single series, so that no reader ever finds two states, or none.
///
/// # Panics
///
/// Without tokio's timer.
///
/// ```
/// use portcullis::breaker::{Circuit, report};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let circuit = Circuit::builder("customer-api").failure_rate(0.5).build()?;
/// let reporting = tokio::spawn(report(&circuit));
/// drop(circuit);
/// reporting.await.expect("it ends with the circuit");
/// # Ok::<(), portcullis::ConfigError>(())
/// # }).unwrap();
/// ```
pub fn report(circuit: &Circuit) -> impl Future<Output = ()> + Send + use<> {
    metrics::describe_gauge!(
        STATE,
        "State of the circuit: 0 closed, 1 half-open, 2 open, 3 forced open, 4 disabled, 5 observing."
    );
    keep_true(Series(circuit.name().to_owned()), circuit.downgrade())
}

async fn keep_true(series: Series, circuit: WeakCircuit) {
    while let Some((changed, wait)) = look(&series, &circuit) {
        match wait {
            Some(wait) => drop(timeout(wait, changed).await),
            None => changed.await,
        }
    }
}

/// Sets the series, and says what makes it untrue: the next change, and the end of a period.
fn look(series: &Series, circuit: &WeakCircuit) -> Option<(impl Future<Output = ()> + use<>, Option<Duration>)> {
    let circuit = circuit.upgrade()?;
    // Made before the state is read, so that no change falls between the two.
    let changed = circuit.changed();
    let (state, left) = circuit.core().standing();
    let (value, wait) = match (state, left) {
        (State::Closed, _) => (0, None),
        (State::Open, Some(Duration::ZERO)) => (1, None),
        (State::HalfOpen, left) => (1, left),
        (State::Open, left) => (2, left),
        (State::ForcedOpen, _) => (3, None),
        (State::Disabled, _) => (4, None),
        (State::Observing, _) => (5, None),
    };
    series.set(value.into());
    Some((changed, wait))
}

/// The gauge of one circuit's state.
struct Series(String);

impl Series {
    /// The recorder is looked up each time: it may be installed after the circuit was made.
    fn set(&self, value: f64) {
        metrics::gauge!(STATE, "circuit" => self.0.clone()).set(value);
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        self.set(f64::NAN);
    }
}
