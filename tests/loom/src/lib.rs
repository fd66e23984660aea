//! The seam of the circuit breaker, with loom's atomics and a window of two buckets, and the models that search it.
//!
//! `cargo test --manifest-path tests/loom/Cargo.toml -- --nocapture` says how many interleavings each model went through:
//! all of those with at most three preemptions of a thread, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
#![forbid(unsafe_code)]
#![cfg(test)]
#![expect(dead_code, reason = "the models use a part of what they include")]

mod breaker;
mod stand_in;

mod outcome {
    pub(crate) use portcullis::outcome::Outcome;
}

mod time {
    use std::time::Duration;

    pub(crate) use portcullis::time::Tick;

    pub(crate) fn nanos(span: Duration) -> u64 {
        u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
    }
}
