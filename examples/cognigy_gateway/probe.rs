//! Asks the downstream's `/v2/health` while the circuit is not closed.

use std::{ops::ControlFlow, time::Duration};

use portcullis::{
    bearer::BearerError,
    breaker::{self, Circuit},
    outcome::Outcome,
    time::Clock,
};
use tower::{ServiceExt, timeout::error::Elapsed};

use crate::{
    downstream::Downstream,
    recent::{CallEnding, Origin},
};

/// Probes until the gateway ends, or until the downstream says that it has no such route.
pub(crate) async fn probe(circuit: Circuit, interval: Duration, downstream: &'static Downstream) {
    let direct = downstream.direct();
    breaker::probe_when(
        circuit,
        interval,
        || downstream.token(),
        || {
            let (direct, request) = (direct.clone(), downstream.health());
            let (clock, recent) = (Clock::precise(), &downstream.recent);
            async move {
                let began = clock.now();
                let result = direct.oneshot(request).await.map(|answer| answer.status());
                let ending = match &result {
                    Ok(status) => Some(CallEnding::Status(*status)),
                    Err(BearerError::Inner(error)) if error.is::<Elapsed>() => Some(CallEnding::Timeout),
                    Err(BearerError::Inner(_)) => Some(CallEnding::Unreachable),
                    Err(_) => None,
                };
                if let Some(ending) = ending {
                    recent.ended(Origin::Probe, 0, ending, clock.now().since(began));
                }
                match result {
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
