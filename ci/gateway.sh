#!/usr/bin/env bash
# What of the gateway needs a server or a browser. The page: without a browser its tests say that they were skipped. And the queue on
# Redis: each test starts a server on a port of its own, and ends it by its id.
. "$(dirname "$0")/lib.sh"

need chromedriver chromium-driver || not_run 'the page in a browser: there is none'
need redis-server redis-server
run cargo test --locked --example cognigy_gateway --test gateway -- --ignored
