#!/usr/bin/env bash
# The interleavings of the seams of the circuit breaker and the retry budget, as far as each model says.
. "$(dirname "$0")/lib.sh"

run cargo test --locked --manifest-path tests/loom/Cargo.toml -- --nocapture
