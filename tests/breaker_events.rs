//! The events of circuits. Alone in its process: whether an event is wanted is known to all threads of one, and late.

#[path = "support/log.rs"]
mod log;

use std::time::Duration;

use log::Log;
use portcullis::{
    breaker::{Circuit, HalfOpen},
    time::ManualClock,
};
use tracing::Level;

#[test]
fn every_change_is_told_with_the_rule_and_its_figures() {
    let log = Log::default();
    let _listening = log.listen(Level::INFO);
    let clock = ManualClock::new();
    let circuit = Circuit::builder("customer-api")
        .failure_rate(0.5)
        .minimum_calls(4)
        .open_for(Duration::from_secs(1))
        .half_open(HalfOpen::permits(1))
        .clock(clock.clock())
        .build()
        .unwrap();
    for turn in 0..4 {
        let permit = circuit.acquire().unwrap();
        if turn % 2 == 0 { permit.success() } else { permit.failure() }
    }
    clock.advance(Duration::from_secs(1));
    circuit.acquire().unwrap().success();
    circuit.observe();
    for _ in 0..4 {
        circuit.acquire().unwrap().failure();
    }

    let told = log.take();
    let expected = [
        (
            "WARN",
            r#"circuit opened circuit="customer-api" from="closed" rule="failure_rate" reason=2 of 4 calls failed, limit 50 %"#,
        ),
        ("INFO", r#"circuit changed circuit="customer-api" from="open" to="half_open""#),
        ("INFO", r#"circuit changed circuit="customer-api" from="half_open" to="closed""#),
        ("INFO", r#"circuit changed circuit="customer-api" from="closed" to="observing""#),
        (
            "WARN",
            r#"circuit would have opened circuit="customer-api" rule="failure_rate" reason=4 of 4 calls failed, limit 50 %"#,
        ),
    ];
    assert_eq!(told.lines().count(), expected.len(), "{told}");
    for (line, (level, text)) in told.lines().zip(expected) {
        assert!(line.contains(level) && line.contains(text), "{line}");
    }
}
