//! Bodies that are kept while they are sent, so that they can be sent again.

mod layer; // what the user stacks
mod service; // gives each request such a body
mod body; // one sending of it
mod shared; // what the sendings share: the one that synchronises
mod reading; // whose turn it is, and how far it was read
mod kept; // what was read
mod error; // why there is no more

pub(crate) use self::shared::reclaim;
pub use self::{
    body::ReplayBody,
    error::{NotReplayed, ReplayError},
    layer::ReplayLayer,
    service::Replay,
};
