//! The last calls of the downstream: when, how and how fast they ended, and nothing of what was said.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::StatusCode;
use portcullis::time::WallClock;
use serde_json::{Value, json};

/// How many are kept.
const KEPT: usize = 25;

/// What a call was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Job,
    Proxy,
    Probe,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEnding {
    Status(StatusCode),
    Timeout,
    Unreachable,
    /// Cut at a deadline, or the client hung up.
    CutOff,
    /// The circuit did not let it through.
    Rejected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    /// Since 1970.
    at: Duration,
    origin: Origin,
    attempt: u32,
    ending: CallEnding,
    took: Duration,
    /// Rejections may come by the thousand: those since the last call are one line for each origin.
    times: u64,
}

/// A bounded list, the newest last.
#[derive(Debug)]
pub(crate) struct Recent {
    clock: WallClock,
    calls: Mutex<VecDeque<Call>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { clock: WallClock::system(), calls: Mutex::new(VecDeque::with_capacity(KEPT)) }
    }
}

impl Recent {
    /// An attempt, counted from 0, has ended.
    pub(crate) fn ended(&self, origin: Origin, attempt: u32, ending: CallEnding, took: Duration) {
        let call = Call { at: self.clock.now().since_epoch(), origin, attempt, ending, took, times: 1 };
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == KEPT {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    /// The circuit rejected an attempt.
    pub(crate) fn rejected(&self, origin: Origin) {
        let at = self.clock.now().since_epoch();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut since = calls.iter_mut().rev().take_while(|call| call.ending == CallEnding::Rejected);
        if let Some(known) = since.find(|call| call.origin == origin) {
            known.times += 1;
            known.at = at;
            return;
        }
        drop(calls);
        self.ended(origin, 0, CallEnding::Rejected, Duration::ZERO);
    }

    /// As the page is told, the newest first.
    pub(crate) fn told(&self) -> Vec<Value> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        calls.iter().rev().map(Call::told).collect()
    }
}

impl Call {
    fn told(&self) -> Value {
        let origin = match self.origin {
            Origin::Job => "job",
            Origin::Proxy => "proxy",
            Origin::Probe => "probe",
        };
        let (status, ending) = match self.ending {
            CallEnding::Status(status) => (Some(status.as_u16()), "answered"),
            CallEnding::Timeout => (None, "timeout"),
            CallEnding::Unreachable => (None, "unreachable"),
            CallEnding::CutOff => (None, "cut_off"),
            CallEnding::Rejected => (None, "rejected"),
        };
        json!({
            "at": millis(self.at), "from": origin, "attempt": self.attempt, "ending": ending, "status": status,
            "took": millis(self.took), "times": self.times,
        })
    }
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let recent = Recent::default();
        for n in 0..30 {
            recent.ended(Origin::Job, n, CallEnding::Status(StatusCode::OK), Duration::from_millis(7));
        }
        let told = recent.told();
        let attempts: Vec<_> = told.iter().map(|call| call["attempt"].as_u64().unwrap()).collect();
        assert_eq!(attempts, (5..30).rev().collect::<Vec<_>>());
        assert_eq!((&told[0]["status"], &told[0]["took"], &told[0]["from"]), (&json!(200), &json!(7), &json!("job")));
    }

    #[test]
    fn rejections_since_the_last_call_are_one_line_for_each_origin() {
        let recent = Recent::default();
        for origin in [Origin::Job, Origin::Proxy, Origin::Proxy, Origin::Job, Origin::Proxy] {
            recent.rejected(origin);
        }
        recent.ended(Origin::Probe, 0, CallEnding::Timeout, Duration::ZERO);
        recent.rejected(Origin::Job);
        let told: Vec<_> = recent.told().iter().map(|call| (call["from"].clone(), call["times"].clone())).collect();
        let expected = [("job", 1), ("probe", 1), ("proxy", 3), ("job", 2)];
        assert_eq!(told, expected.map(|(origin, times)| (json!(origin), json!(times))));
    }
}
