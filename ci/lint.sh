#!/usr/bin/env bash
# Formatting and lints.
. "$(dirname "$0")/lib.sh"

run cargo fmt --all --check
run cargo clippy --locked --all-targets --all-features -- -D warnings
