//! Bodies that are kept while they are sent: through tower, between threads, and over HTTP.

#[path = "../support/mod.rs"]
mod service;
mod support;

mod bodies; // one body, sending by sending
mod requests; // what retry and bearer make of it
mod threads; // sendings that overlap
mod wire; // hyper's client and server
