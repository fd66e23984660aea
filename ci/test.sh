#!/usr/bin/env bash
# What the README tells a newcomer to type. It builds the gateway, and runs it as a process.
. "$(dirname "$0")/lib.sh"

need curl curl || not_run 'the commands that the gateway prints: there is no curl'
run cargo test --locked

# The table and the charts of fleets, small ones.
run cargo run --locked --example fleet -- --clients 20,200 --rate 100 target/fleet
