//! Asking a health check while the circuit is not closed.

use std::{
    future::{Future, poll_fn},
    mem,
    ops::ControlFlow,
    pin::pin,
    task::Poll,
    time::Duration,
};

use super::{circuit::Circuit, snapshot::State};
use crate::{outcome::Outcome, time::timeout};

/// Probes a service with a health check, so that its circuit closes before live calls have to find out.
///
/// A future to spawn. While the circuit is closed it is idle: no traffic, no timer. So it is in the states that are set by hand,
/// which no check would change. Once the open time has passed it takes a half-open permit as a live call does and runs `check`: at
/// once, again at once after a success, and else after `interval`, until the circuit has closed or opened again. It ends when
/// `check` breaks, which says that there is nothing to ask; the permit is then given back.
///
/// A check that takes longer than the half-open timeout is given up. The future ends only so, and when its task is aborted:
/// it holds a handle to the circuit.
///
/// # Panics
///
/// Without tokio's timer. In tests under `tokio::time::pause`, give the circuit `Clock::tokio()`.
///
/// ```
/// use std::{ops::ControlFlow, time::Duration};
/// use portcullis::{breaker::{Circuit, HalfOpen, State, probe}, outcome::Outcome, time::Clock};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let circuit = Circuit::builder("customer-api")
///     .consecutive_failures(1)
///     .open_for(Duration::from_secs(15))
///     .half_open(HalfOpen::permits(3))
///     .clock(Clock::tokio())
///     .build()?;
/// tokio::spawn(probe(circuit.clone(), Duration::from_secs(10), async || ControlFlow::Continue(Outcome::Success)));
///
/// circuit.acquire().unwrap().failure();
/// tokio::time::sleep(Duration::from_secs(16)).await;
/// assert_eq!(circuit.snapshot().state, State::Closed);
/// # Ok::<(), portcullis::ConfigError>(())
/// # }).unwrap();
/// ```
pub async fn probe<F, Fut>(circuit: Circuit, interval: Duration, check: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = ControlFlow<(), Outcome>>,
{
    probe_when(circuit, interval, || std::future::ready(()), check).await;
}

/// As [`probe`], for a check that needs something first, such as a token: it takes a permit once `ready` has resolved, and none
/// while it waits.
///
/// ```
/// use std::{future::{pending, ready}, ops::ControlFlow, time::Duration};
/// use portcullis::{breaker::{Circuit, State, probe_when}, outcome::Outcome, time::Clock};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let circuit = Circuit::builder("customer-api").consecutive_failures(1).clock(Clock::tokio()).build()?;
/// let well = || ready(ControlFlow::Continue(Outcome::Success));
/// tokio::spawn(probe_when(circuit.clone(), Duration::from_secs(10), pending, well));
///
/// circuit.acquire().unwrap().failure();
/// tokio::time::sleep(Duration::from_secs(60)).await;
/// // Not even half-open: the first to call may be the first to probe.
/// assert_eq!(circuit.snapshot().state, State::Open);
/// # Ok::<(), portcullis::ConfigError>(())
/// # }).unwrap();
/// ```
///
/// # Panics
///
/// Without tokio's timer.
pub async fn probe_when<R, Ready, F, Fut>(circuit: Circuit, interval: Duration, mut ready: R, mut check: F)
where
    R: FnMut() -> Ready,
    Ready: Future<Output = ()>,
    F: FnMut() -> Fut,
    Fut: Future<Output = ControlFlow<(), Outcome>>,
{
    // A period is over by then, and an interval of nothing would only spin.
    let interval = interval.min(circuit.core().half_open_timeout()).max(Duration::from_millis(1));
    let mut pause = false;
    loop {
        // Made before the state is read, so that no change falls between the two.
        let changed = circuit.changed();
        let snapshot = circuit.snapshot();
        let paused = mem::take(&mut pause);
        // Each wait ends early when the state changes: it leads back here, where the state is read again.
        match (snapshot.state, snapshot.retry_after) {
            (State::Closed | State::ForcedOpen | State::Disabled | State::Observing, _) => changed.await,
            (_, Some(wait)) if !wait.is_zero() => drop(timeout(wait, changed).await),
            _ if paused => drop(timeout(interval, changed).await),
            // The state may change meanwhile, and then there may be nothing to ask.
            _ if !before(changed, ready()).await => {}
            _ => match circuit.acquire() {
                Ok(permit) => {
                    let outcome = match timeout(circuit.core().half_open_timeout(), check()).await {
                        Ok(ControlFlow::Break(())) => return permit.ignored(),
                        Ok(ControlFlow::Continue(outcome)) => outcome,
                        Err(_) => Outcome::Failure,
                    };
                    permit.settle(outcome);
                    pause = outcome != Outcome::Success;
                }
                Err(_) => pause = true,
            },
        }
    }
}

/// Whether `ready` resolves before `changed` does.
async fn before(changed: impl Future<Output = ()>, ready: impl Future<Output = ()>) -> bool {
    let (mut changed, mut ready) = (pin!(changed), pin!(ready));
    poll_fn(|cx| match changed.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(false),
        Poll::Pending => ready.as_mut().poll(cx).map(|()| true),
    })
    .await
}
