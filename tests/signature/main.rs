//! The signature layer, as peers and inner services meet it.

mod bodies; // of every shape
mod contract; // of tower
mod credentials; // in every form
mod foreign; // Ed25519
mod headers; // judged before the body
#[path = "../support/profiles.rs"]
#[expect(dead_code, reason = "shared with the vectors")]
mod profiles;
mod replays; // refused, and only those
mod schemes; // lists, times, families
mod secrets; // ended, swapped, told apart
mod signing; // and verified
mod support;
mod verifier; // without tower
mod wire; // behind a real server
