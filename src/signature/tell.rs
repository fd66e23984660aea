//! What is told of requests: to `tracing` and to `metrics`, where those features are on. The reason, and nothing of a request
//! or of a secret.

use std::fmt;

use super::{Refusal, Scheme, Verified};
use crate::trace::event;

/// A request was not let through.
pub(super) fn refused(scheme: &Scheme, refusal: &Refusal) {
    event!(DEBUG, "request refused", scheme = scheme.name(), reason = refusal.as_str());
    counted::refused(scheme, refusal);
}

/// A request was verified.
pub(super) fn verified(scheme: &Scheme, verified: &Verified) {
    counted::verified(scheme, verified);
}

/// The store of replays cannot say whether a message is new.
pub(super) fn not_reserved(error: impl fmt::Display) {
    event!(WARN, "no replay can be told", error = format_args!("{error}"));
}

/// The store of replays did not hear how a message was answered.
pub(super) fn not_settled(error: impl fmt::Display) {
    event!(WARN, "a replay may not be told", error = format_args!("{error}"));
}

#[cfg(feature = "metrics")]
pub(super) use counted::describe;

#[cfg(feature = "metrics")]
mod counted {
    use std::sync::Arc;

    use metrics::{counter, describe_counter};

    use super::{Refusal, Scheme, Verified};

    const REFUSED: &str = "portcullis_signature_refusals_total";
    const VERIFIED: &str = "portcullis_signature_verified_total";

    pub(in super::super) fn describe() {
        describe_counter!(REFUSED, "Requests that the signature layer answered, by scheme and reason.");
        describe_counter!(
            VERIFIED,
            "Requests that were verified, by scheme and the label of each secret that vouched."
        );
    }

    pub(super) fn refused(scheme: &Scheme, refusal: &Refusal) {
        counter!(REFUSED, "scheme" => scheme.shared_name(), "reason" => refusal.as_str()).increment(1);
    }

    pub(super) fn verified(scheme: &Scheme, verified: &Verified) {
        for voucher in verified.vouchers() {
            let key = Arc::clone(voucher.label());
            counter!(VERIFIED, "scheme" => scheme.shared_name(), "key" => key).increment(1);
        }
    }
}

#[cfg(not(feature = "metrics"))]
pub(super) const fn describe() {}

#[cfg(not(feature = "metrics"))]
mod counted {
    use super::{Refusal, Scheme, Verified};

    pub(super) const fn refused(_: &Scheme, _: &Refusal) {}

    pub(super) const fn verified(_: &Scheme, _: &Verified) {}
}
