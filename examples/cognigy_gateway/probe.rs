//! Asks the downstream's `/v2/health` while the circuit is not closed.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use portcullis::{
    bearer::BearerError,
    breaker::{self, Circuit},
    outcome::Outcome,
};
use tower::ServiceExt;

use crate::downstream::Downstream;

/// Probes until the gateway ends, or until the downstream says that it has no such route.
pub(crate) async fn probe(circuit: Circuit, interval: Duration, downstream: Arc<Downstream>) {
    let direct = downstream.direct();
    breaker::probe_when(
        circuit,
        interval,
        || downstream.token(),
        || {
            let (direct, request) = (direct.clone(), downstream.health());
            async move {
                match direct.oneshot(request).await.map(|answer| answer.status()) {
                    Ok(status) if status.is_success() => ControlFlow::Continue(Outcome::Success),
                    Ok(status) if matches!(status.as_u16(), 404 | 405 | 501) => {
                        tracing::warn!(
                            status = status.as_u16(),
                            "the downstream has no /v2/health: the health probe is off"
                        );
                        ControlFlow::Break(())
                    }
                    Err(BearerError::NoToken(_)) => ControlFlow::Continue(Outcome::Ignored),
                    _ => ControlFlow::Continue(Outcome::Failure),
                }
            }
        },
    )
    .await;
}
