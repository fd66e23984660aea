#!/usr/bin/env bash
# The breaker's core, and the breaker as its users hold it, under miri.
. "$(dirname "$0")/lib.sh"

if nightly miri; then
    run cargo +nightly miri test --locked --lib breaker::
    run cargo +nightly miri test --locked --test breaker
else
    not_run 'miri: there is no nightly toolchain with it'
fi
