//! What is told of requests: to `tracing` and to `metrics`, where those features are on. The reason, and nothing of a request
//! or of a secret.

use std::fmt;

use super::{Refusal, Scheme, Verified};
use crate::trace::event;

/// A request was not let through.
pub(super) fn refused(scheme: &Scheme, counters: &Refusals, refusal: &Refusal) {
    event!(DEBUG, "request refused", scheme = scheme.name(), reason = refusal.as_str());
    counters.count(refusal);
}

/// A request was verified.
pub(super) fn verified(verified: &Verified) {
    verified.vouchers().for_each(|voucher| voucher.counter().count());
}

/// The store of replays cannot say whether a message is new.
pub(super) fn not_reserved(error: impl fmt::Display) {
    event!(WARN, "no replay can be told", error = format_args!("{error}"));
}

/// The store of replays did not hear how a message was answered.
pub(super) fn not_settled(error: impl fmt::Display) {
    event!(WARN, "a replay may not be told", error = format_args!("{error}"));
}

pub(super) use counted::{Refusals, Vouched, describe};

/// Labels are put together once for each series, and not for each request, in the form that recorders keep. A recorder is asked for
/// its counter each time, so that one that is installed later, or for one thread, is found; where there is none, that is all there is
/// to it.
#[cfg(feature = "metrics")]
mod counted {
    use std::sync::Arc;

    use metrics::{Key, Label, Level, Metadata, describe_counter};

    use super::{Refusal, Scheme};

    const REFUSED: &str = "portcullis_signature_refusals_total";
    const VERIFIED: &str = "portcullis_signature_verified_total";

    pub(in super::super) fn describe() {
        describe_counter!(REFUSED, "Requests that the signature layer answered, by scheme and reason.");
        describe_counter!(
            VERIFIED,
            "Requests that were verified, by scheme and the label of each secret that vouched."
        );
    }

    fn count(key: &Key) {
        const FROM: Metadata<'_> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
        metrics::with_recorder(|recorder| recorder.register_counter(key, &FROM).increment(1));
    }

    /// The series of a scheme's refusals, in the order of [`Refusal::ALL`].
    #[derive(Clone)]
    pub(in super::super) struct Refusals(Arc<[Key]>);

    impl Refusals {
        pub(in super::super) fn of(scheme: &Scheme) -> Self {
            let key = |refusal: &Refusal| {
                let labels = [Label::new("scheme", scheme.shared_name()), Label::new("reason", refusal.as_str())];
                Key::from_parts(REFUSED, labels.to_vec()).to_retained()
            };
            Self(Refusal::ALL.iter().map(key).collect())
        }

        pub(super) fn count(&self, refusal: &Refusal) {
            let place = Refusal::ALL.iter().position(|other| other == refusal);
            place.and_then(|place| self.0.get(place)).into_iter().for_each(count);
        }
    }

    /// The series of one secret.
    #[derive(Debug)]
    pub(in super::super) struct Vouched(Key);

    impl Vouched {
        pub(in super::super) fn of(scheme: &Arc<str>, label: &Arc<str>) -> Self {
            let labels = [Label::new("scheme", Arc::clone(scheme)), Label::new("key", Arc::clone(label))];
            Self(Key::from_parts(VERIFIED, labels.to_vec()).to_retained())
        }

        pub(super) fn count(&self) {
            count(&self.0);
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod counted {
    use std::sync::Arc;

    use super::{Refusal, Scheme};

    pub(in super::super) const fn describe() {}

    #[derive(Clone)]
    pub(in super::super) struct Refusals;

    impl Refusals {
        pub(in super::super) const fn of(_: &Scheme) -> Self {
            Self
        }

        #[expect(clippy::unused_self, reason = "it counts where there are metrics")]
        pub(super) const fn count(&self, _: &Refusal) {}
    }

    #[derive(Debug)]
    pub(in super::super) struct Vouched;

    impl Vouched {
        pub(in super::super) const fn of(_: &Arc<str>, _: &Arc<str>) -> Self {
            Self
        }

        #[expect(clippy::unused_self, reason = "it counts where there are metrics")]
        pub(super) const fn count(&self) {}
    }
}
