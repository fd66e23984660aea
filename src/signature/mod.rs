//! Signatures.

mod body; // in within bounds, out as it came
mod credentials; // the secret itself, in a header
mod future; // reads, verifies, calls
mod layer; // settings
mod mac; // the keyed hash
mod refusal; // what is answered
mod scheme; // providers, as data
mod secret; // what both sides know
mod service; // judges the headers
mod signer; // the other side
mod verify; // the verdict

pub use self::{
    body::VerifiedBody,
    future::ResponseFuture,
    layer::SignatureLayer,
    mac::Hash,
    refusal::{Bare, Reason, Refusal, RefusalKind, Refuse},
    scheme::{Encoding, Names, Scheme, SchemeBuilder, Segment, SignedContext, Timestamp, Unit},
    secret::{KeyEncoding, Secret},
    service::VerifySignature,
    signer::Signer,
    verify::Verified,
};

/// As many secrets are accepted by one layer.
pub const MAX_SECRETS: usize = 4;
/// As many signatures are read from one header.
pub const MAX_SIGNATURES: usize = 16;
