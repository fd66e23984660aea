//! What is known of a request that was let through.

use std::sync::Arc;

use http::HeaderValue;

use super::tell::Vouched;
use crate::time::UnixTime;

/// What is known of a request that was let through. It is in the request's extensions, where no client can put anything.
///
/// ```
/// use portcullis::signature::Verified;
///
/// fn handler<B>(request: &http::Request<B>) -> Option<&str> {
///     let verified = request.extensions().get::<Verified>()?;
///     Some(verified.key_label())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Verified {
    pub(super) by: Arc<Voucher>,
    pub(super) signed: bool,
    /// Of other secrets that were needed.
    pub(super) others: [Option<Arc<Voucher>>; 2],
    pub(super) told: Told,
}

/// What is told of a message by what is signed. Moved as one, since parts of it are not moved by whole words.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) timestamp: Option<UnixTime>,
    pub(super) replay_id: Option<HeaderValue>,
}

impl Verified {
    /// The name of the scheme that it was judged by.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.by.scheme
    }

    /// Whether the body was signed. If not, a credential alone vouches for the sender, and nothing for the body.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.signed
    }

    /// The [label](super::Secret::label) of the secret that the signature was made with, or the credential where nothing was
    /// signed. Of several that signed it is the first in the layer's order.
    #[must_use]
    pub fn key_label(&self) -> &str {
        &self.by.label
    }

    /// The labels of all secrets that were needed, [`key_label`](Self::key_label) first: a request may be signed with one, and
    /// carry credentials of others. A secret whose label is in none of them any more can go.
    pub fn key_labels(&self) -> impl Iterator<Item = &str> {
        self.vouchers().map(|voucher| &*voucher.label)
    }

    /// Whoever vouched, the signature's first.
    pub(super) fn vouchers(&self) -> impl Iterator<Item = &Voucher> {
        std::iter::once(&self.by).chain(self.others.iter().flatten()).map(|voucher| &**voucher)
    }

    /// The id that is signed with the message and stays the same when it is sent again, if the scheme has one, as Standard
    /// Webhooks does.
    #[must_use]
    pub const fn replay_id(&self) -> Option<&HeaderValue> {
        self.told.replay_id.as_ref()
    }

    /// When it was signed, if the scheme says so.
    #[must_use]
    pub const fn timestamp(&self) -> Option<UnixTime> {
        self.told.timestamp
    }
}

/// Which secret vouches, and under which scheme: made once for each secret, so that a request shares it by one counter.
#[derive(Debug)]
pub(super) struct Voucher {
    scheme: Arc<str>,
    label: Arc<str>,
    counter: Vouched,
}

impl Voucher {
    pub(super) fn new(scheme: Arc<str>, label: Arc<str>) -> Self {
        Self { counter: Vouched::of(&scheme, &label), scheme, label }
    }

    pub(super) const fn counter(&self) -> &Vouched {
        &self.counter
    }

    pub(super) const fn label(&self) -> &Arc<str> {
        &self.label
    }
}
