#!/usr/bin/env bash
# Each example to its end: each asserts what it shows. They talk to servers of their own, on ports of this machine.
. "$(dirname "$0")/lib.sh"

for example in axum_webhook balance hyper_client reqwest_client tonic_client; do
    run timeout 600 cargo run --locked --quiet --example "$example"
done
