//! Layers for [`tower`] services that know when to stop.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "breaker")]
pub mod breaker;
mod config;
pub mod fallback;
pub mod outcome;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "signature")]
pub mod signature;
pub mod time;
mod trace;

pub use config::ConfigError;

/// The error type of boxed stacks, as `tower` has it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
