//! What all who watch are told: one frame for all of them, each second and at each change of the circuit.

use std::{collections::VecDeque, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use portcullis::{
    breaker::{Circuit, Snapshot},
    time::WallClock,
};
use serde_json::{Value, json};
use tokio::{
    select,
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use super::controls::Controls;
use crate::{
    queue::{Lane, Queue},
    recent::{Recent, millis},
    shutdown::pause,
};

/// How often a sample is taken for the chart, and how many it shows.
const TICK: Duration = Duration::from_secs(1);
const SAMPLES: usize = 120;
/// A circuit may change a thousand times a second; frames do not.
const BETWEEN: Duration = Duration::from_millis(100);
/// A queue that takes longer to answer is shown as one that says nothing.
const PATIENCE: Duration = Duration::from_millis(500);

/// The task that makes frames.
pub(super) struct Frames {
    circuit: Circuit,
    queue: Queue,
    recent: &'static Recent,
    controls: Option<Arc<Controls>>,
    history: VecDeque<Value>,
    /// How often the circuit had opened, and when and why it last did.
    opened: u64,
    last_trip: Value,
}

impl Frames {
    pub(super) fn start(
        circuit: Circuit,
        queue: Queue,
        recent: &'static Recent,
        controls: Option<Arc<Controls>>,
        came: Arc<Notify>,
    ) -> watch::Receiver<Bytes> {
        let frames = Self {
            circuit,
            queue,
            recent,
            controls,
            history: VecDeque::with_capacity(SAMPLES),
            opened: 0,
            last_trip: Value::Null,
        };
        let (sender, receiver) = watch::channel(Bytes::new());
        tokio::spawn(frames.make(sender, came));
        receiver
    }

    async fn make(mut self, frames: watch::Sender<Bytes>, came: Arc<Notify>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changed = pin!(self.circuit.changed());
        loop {
            let ticked = select! {
                _ = ticks.tick() => true,
                () = changed.as_mut() => {
                    // Before the state is read, so that no change is missed.
                    changed.set(self.circuit.changed());
                    false
                }
                () = came.notified() => false,
            };
            let snapshot = self.circuit.snapshot();
            self.note(&snapshot, ticked);
            // The page's routes hold one receiver themselves.
            if frames.receiver_count() > 1 {
                frames.send_replace(self.frame(&snapshot).await);
            }
            pause(BETWEEN).await;
        }
    }

    fn note(&mut self, snapshot: &Snapshot, ticked: bool) {
        if let Some(trip) = snapshot.tripped.filter(|_| snapshot.opened != self.opened) {
            let at = millis(WallClock::system().now().since_epoch());
            self.last_trip = json!({ "at": at, "rule": trip.rule(), "why": trip.to_string() });
        }
        self.opened = snapshot.opened;
        if ticked {
            if self.history.len() == SAMPLES {
                self.history.pop_front();
            }
            let sample =
                json!([snapshot.state.as_str(), share(snapshot.failure_rate()), share(snapshot.slow_call_rate())]);
            self.history.push_back(sample);
        }
    }

    async fn frame(&self, snapshot: &Snapshot) -> Bytes {
        let backlog = timeout(PATIENCE, self.queue.backlog(Lane::Lookups)).await.ok().and_then(Result::ok);
        let simulator = self
            .controls
            .as_ref()
            .map(|controls| json!({ "mood": controls.simulator.mood(), "traffic": controls.traffic.seconds_left() }));
        let frame = json!({
            "circuit": {
                "state": snapshot.state.as_str(),
                "failureRate": share(snapshot.failure_rate()),
                "slowRate": share(snapshot.slow_call_rate()),
                "calls": snapshot.calls,
                "retryAfter": snapshot.retry_after.map(millis),
                "tripped": snapshot.tripped.map(|trip| trip.to_string()),
                "opened": snapshot.opened,
                "lastTrip": self.last_trip,
            },
            "queue": {
                "backend": self.queue.backend(),
                "jobs": backlog.map(|left| left.jobs),
                "waited": backlog.map(|left| millis(left.waited)),
            },
            "history": self.history,
            "calls": self.recent.told(),
            "simulator": simulator,
        });
        format!("data: {frame}\n\n").into()
    }
}

/// To a thousandth, which is as fine as it is shown.
fn share(rate: f64) -> f64 {
    (rate * 1000.0).round() / 1000.0
}
