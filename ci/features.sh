#!/usr/bin/env bash
# The library with no feature, with each alone, with each two, and with all: as Cargo.toml lists them.
. "$(dirname "$0")/lib.sh"

need jq jq
mapfile -t features < <(cargo metadata --locked --no-deps --format-version 1 |
    jq -r '.packages[0].features | keys - ["default"] | .[]')
[ ${#features[@]} -gt 0 ]

lint() {
    run cargo clippy --quiet --locked --lib --no-default-features "$@" -- -D warnings
}

lint
for feature in "${features[@]}"; do
    lint --features "$feature"
done
for ((one = 0; one < ${#features[@]}; one++)); do
    for ((other = one + 1; other < ${#features[@]}; other++)); do
        lint --features "${features[one]},${features[other]}"
    done
done
lint --all-features
