#!/usr/bin/env bash
# Formatting and lints.
. "$(dirname "$0")/lib.sh"

run cargo fmt --all --check
run cargo clippy --locked --all-targets --all-features -- -D warnings

# Packages of their own, which the two above do not reach. Only to run, the fuzzer's needs a nightly toolchain.
for package in fuzz tests/loom benches/peers; do
    run cargo fmt --manifest-path "$package/Cargo.toml" --check
    run cargo clippy --locked --manifest-path "$package/Cargo.toml" --all-targets --all-features -- -D warnings
done
