#!/usr/bin/env bash
# The library builds with the oldest version of each crate that it says it can do with: a dependant's lock file may name that one.
# Each feature alone, too: with all of them, a crate may ask for a newer version than the one that needs it. What only the tests need
# is left out, since those of it that ask for newer versions would hide what the library asks for.
. "$(dirname "$0")/lib.sh"

need jq jq
if ! cargo +nightly --version >/dev/null 2>&1 && ! run rustup toolchain install nightly --profile minimal; then
    not_run 'the oldest versions of the dependencies: there is no nightly toolchain'
    exit
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
sed '/^\[dev-dependencies\]/,$d' Cargo.toml >"$copy/Cargo.toml"
cp -r src README.md "$copy"
mapfile -t features < <(cargo metadata --locked --no-deps --format-version 1 |
    jq -r '.packages[0].features | keys - ["default"] | .[]')
[ ${#features[@]} -gt 0 ]

# What the compiler warns of is another check's business.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/minimal RUSTFLAGS='--cap-lints allow'
cd "$copy"
run cargo +nightly update --quiet -Z direct-minimal-versions
run cargo +nightly tree --all-features --depth 1 --edges normal
run cargo +nightly check --locked --quiet --lib --no-default-features
for feature in "${features[@]}"; do
    run cargo +nightly check --locked --quiet --lib --no-default-features --features "$feature"
done
run cargo +nightly check --locked --quiet --lib --all-features
