#!/usr/bin/env bash
# Which lines of the library its own tests run: unit tests and those of `tests/` but the gateway's, which would run some of them by
# chance. No part of `.ci/run`, since a line that is run is not yet tested. Takes arguments of `cargo llvm-cov report`, such as `--html`.
. "$(dirname "$0")/lib.sh"

need jq jq
rustup component add llvm-tools
cargo_tool llvm-cov
mapfile -t tests < <(cargo metadata --locked --no-deps --format-version 1 |
    jq -r '.packages[0].targets[] | select(.kind == ["test"] and .name != "gateway") | "--test", .name')

# What was built of an older source would count as never run.
run cargo llvm-cov clean --workspace
run cargo llvm-cov --locked --all-features --no-report --lib "${tests[@]}"
run cargo llvm-cov report --ignore-filename-regex '/(tests|examples)(/|\.rs)' --show-missing-lines "$@"
