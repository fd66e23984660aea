#!/usr/bin/env bash
# The licences, versions and origins of what the library depends on (deny.toml), and of what its tests and examples use besides
# (ci/deny-dev.toml); and what is known against any of it, where the list of that can be fetched.
. "$(dirname "$0")/lib.sh"

if ! cargo_tool deny; then
    not_run 'licences, bans and advisories of dependencies: cargo-deny is not to be had'
    exit 0
fi
run cargo deny --locked check --hide-inclusion-graph licenses bans sources
run cargo deny --locked --config ci/deny-dev.toml check --hide-inclusion-graph licenses bans sources

printf '\nOf more than one version, for tests, benchmarks and examples alone:\n'
cargo tree --locked --all-features --target all --duplicates --depth 0 | grep ' v'

if run timeout 120 cargo deny --locked fetch db; then
    run cargo deny --locked --config ci/deny-dev.toml check --disable-fetch --hide-inclusion-graph advisories
else
    not_run 'advisories of dependencies: their list could not be fetched'
fi
