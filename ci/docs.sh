#!/usr/bin/env bash
# Documentation, as docs.rs builds it, and as it is built by default.
. "$(dirname "$0")/lib.sh"

export RUSTDOCFLAGS="-D warnings"
run cargo doc --locked --no-deps --all-features
run cargo doc --locked --no-deps
