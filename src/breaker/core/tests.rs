use std::{sync::mpsc, thread};

use super::*;
use crate::{breaker::Circuit, outcome::Outcome};

/// The other thread would be waited for in vain; the time is only for a test that fails.
#[test]
fn a_call_of_a_disabled_circuit_waits_for_no_lock() {
    let circuit = Circuit::builder("test").consecutive_failures(1).build().unwrap();
    circuit.disable();
    let core = circuit.core();
    let call = || core.settle(core.admit().unwrap(), Ending::Finished(Outcome::Failure));
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let while_locked = |_: &mut Machine, _: &Plan| {
            scope.spawn(move || {
                call();
                done.send(())
            });
            (is_done.recv_timeout(Duration::from_secs(10)), None)
        };
        let (heard, _) = core.shared.step(Tick::default(), while_locked);
        assert_eq!(heard, Ok(()));
    });
}
