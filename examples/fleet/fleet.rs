//! The fleet in virtual time: events in their order, and a clock that is moved from one to the next.

use std::{collections::BTreeMap, time::Duration};

use portcullis::{
    ConfigError,
    time::{ManualClock, Tick},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    LAST,
    client::{Client, Request},
    downstream::{Downstream, Fate},
    record::Record,
    seed,
    stacks::Stack,
};

pub(crate) const SECOND: u64 = 1_000_000_000;
/// How long a client waits for an answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);
/// One answer in so many is an error, in good times too.
const FAULTS: u32 = 100;

/// So many clients, with so many requests a second among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    pub(crate) clients: u32,
    pub(crate) rate: u32,
    pub(crate) seed: u64,
}

enum Event {
    Send(Request),
    /// The caller has the answer, or has given up.
    Ended(Request, bool),
}

/// What is to happen, by time and then in the order in which it was said.
#[derive(Default)]
struct Agenda {
    events: BTreeMap<(Tick, u64), Event>,
    said: u64,
}

impl Agenda {
    fn add(&mut self, at: Tick, event: Event) {
        self.said += 1;
        self.events.insert((at, self.said), event);
    }
}

/// Answers that are errors by themselves, at random.
pub(crate) struct Faults(StdRng);

impl Faults {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        Self(StdRng::seed_from_u64(fleet.seed ^ 1))
    }

    /// When a call of `now` is answered, and whether well. An answer that comes too late is not a good one.
    pub(crate) fn answer(&mut self, now: Tick, fate: Fate) -> (Tick, bool) {
        match fate {
            Fate::Done(at) => (at, at <= now.after(TIMEOUT) && self.0.random_range(0..FAULTS) > 0),
            Fate::Refused(at) => (at, false),
        }
    }
}

impl Fleet {
    /// When each request is made, and by which client. Each client has a rhythm of its own, which it keeps loosely: the gaps are
    /// between half and one and a half of it.
    pub(crate) fn requests(&self) -> Vec<(Tick, usize)> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let gap = SECOND * u64::from(self.clients) / u64::from(self.rate);
        let mut requests = Vec::new();
        for client in 0..self.clients as usize {
            let mut at = random.random_range(0..gap);
            while at < u64::from(LAST) * SECOND {
                requests.push((Tick::from_nanos(at), client));
                at += random.random_range(gap / 2..=gap + gap / 2);
            }
        }
        requests.sort_unstable();
        requests
    }

    /// Runs from calm through the brown-out to the end, and until the last request has ended.
    pub(crate) fn run(&self, stack: &Stack) -> Result<Record, ConfigError> {
        seed(self.seed);
        let time = ManualClock::new();
        let clock = time.clock();
        let clients = (0..self.clients).map(|_| Client::new(stack, &clock)).collect::<Result<Vec<_>, _>>()?;
        let mut downstream = Downstream::new(self);
        let mut faults = Faults::new(self);
        let mut record = Record::default();
        let mut agenda = Agenda::default();
        for (at, client) in self.requests() {
            let request = Request::new(client, second(at));
            record.made(request.second);
            agenda.add(at, Event::Send(request));
        }
        while let Some(((now, _), event)) = agenda.events.pop_first() {
            time.set(now);
            match event {
                Event::Send(mut request) => {
                    if clients[request.client].may_send(&mut request) {
                        let fate = downstream.take(now);
                        record.called(now, fate);
                        let (at, well) = faults.answer(now, fate);
                        agenda.add(at.min(now.after(TIMEOUT)), Event::Ended(request, well));
                    }
                }
                Event::Ended(mut request, well) => match clients[request.client].ended(&mut request, well) {
                    Some(wait) => agenda.add(now.after(wait), Event::Send(request)),
                    None if well => record.answered(request.second),
                    None => {}
                },
            }
        }
        Ok(record)
    }
}

/// The second in which a moment lies.
pub(crate) fn second(at: Tick) -> usize {
    usize::try_from(at.as_nanos() / SECOND).unwrap_or(usize::MAX)
}
