#!/usr/bin/env bash
# What peers can send, from a fuzzer, for a short while each.
. "$(dirname "$0")/lib.sh"

fuzz=0
run fuzz/run 20 || fuzz=$?
case $fuzz in
    0) ;;
    3) not_run 'the fuzzer: it needs a nightly toolchain and cargo-fuzz' ;;
    *) exit "$fuzz" ;;
esac
