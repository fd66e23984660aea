#!/usr/bin/env bash
# The instructions of calls, which a noisy machine cannot blur; and the benchmarks, once each: they assert the states that
# they claim to measure.
. "$(dirname "$0")/lib.sh"

need valgrind valgrind
run cargo check --locked --manifest-path benches/peers/Cargo.toml --all-targets
run benches/peers/instructions
run cargo test --locked --bench breaker --bench retry --bench signature
