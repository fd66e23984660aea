//! The gateway as its clients, operators and downstream see it: the built example runs as a process, between real sockets.
//!
//! `support` holds the process, the scripted downstream and the client; each other module holds one part of the contract.
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "whole processes are under test, in real time")]

mod auth;
mod bodies;
mod browser;
mod circuit;
mod crashes;
mod deadlines;
mod faults;
mod first_start;
mod inject;
mod jobs;
mod oauth;
mod observe;
mod outcomes;
mod page;
mod probe;
mod proxied;
mod queue;
mod redis;
mod retrying;
mod settings;
mod shutdown;
mod support;
mod telemetry;
mod tls;
