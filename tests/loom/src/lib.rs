//! The seams of the circuit breaker and of the retry budget, with loom's atomics, and the models that search them. The
//! breaker's window has two buckets here.
//!
//! `cargo test --manifest-path tests/loom/Cargo.toml -- --nocapture` says how many interleavings each model went through:
//! all of those with at most three preemptions of a thread, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
#![forbid(unsafe_code)]
#![cfg(test)]
#![expect(dead_code, reason = "the models use a part of what they include")]
#![allow(unfulfilled_lint_expectations, reason = "what they include has another size with loom's atomics")]

use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering},
};

use loom::model::Builder;

mod breaker;
mod budget;
mod stand_in;

mod config {
    use std::fmt;

    #[derive(Debug)]
    pub(crate) struct ConfigError;

    impl ConfigError {
        pub(crate) fn new(_: &'static str, _: &'static str, _: impl fmt::Display) -> Self {
            Self
        }
    }
}

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

fn search(name: &str, model: impl Fn() + Send + Sync + 'static) {
    static PERMUTATIONS: AtomicUsize = AtomicUsize::new(0);
    let mut builder = Builder::new();
    if env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        builder.preemption_bound = Some(3);
    }
    builder.max_branches = 20_000;
    let before = PERMUTATIONS.load(Ordering::Relaxed);
    let preemptions = builder.preemption_bound;
    builder.check(move || {
        PERMUTATIONS.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let searched = PERMUTATIONS.load(Ordering::Relaxed) - before;
    println!("{name}: about {searched} interleavings, preemptions at most {preemptions:?}");
}
