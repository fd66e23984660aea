//! A client's layer: signs what goes out, as the other layer verifies what comes in.

mod layer;
mod service;
mod future;
mod body;
mod error;

pub use self::{
    body::SignedBody,
    error::{NotSigned, SigningError},
    future::SignFuture,
    layer::SignLayer,
    service::Sign,
};
