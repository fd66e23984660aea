//! Whether the simulation is this crate: fleets of twenty run through the real layers, under tokio's paused clock, beside it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use portcullis::{
    BoxError,
    breaker::CircuitBreakerLayer,
    outcome::AsRejection,
    retry::{RetryLayer, RetryPolicy},
    time::{Clock, Tick},
};
use tokio::task::JoinSet;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn, timeout::TimeoutLayer, util::BoxCloneService};

use crate::{
    BROWN_OUT, charts,
    downstream::{Downstream, Fate},
    fleet::{Faults, Fleet, TIMEOUT, second},
    random,
    record::{Figures, Record},
    report::{runs, table},
    seed,
    stacks::{self, Stack},
};

type Client = BoxCloneService<Request<()>, Response<()>, BoxError>;

/// What the clients share.
struct World {
    downstream: Downstream,
    faults: Faults,
    record: Record,
}

#[expect(clippy::disallowed_methods, reason = "the clock is paused")]
async fn until(clock: &Clock, moment: Tick) {
    tokio::time::sleep(moment.since(clock.now())).await;
}

fn downstream(clock: Clock, world: Arc<Mutex<World>>) -> Client {
    BoxCloneService::new(service_fn(move |_| {
        let clock = clock.clone();
        let now = clock.now();
        let (at, well) = {
            let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
            let fate = world.downstream.take(now);
            world.record.called(now, fate);
            world.faults.answer(now, fate)
        };
        async move {
            until(&clock, at).await;
            Ok::<_, BoxError>(Response::builder().status(if well { 200 } else { 503 }).body(())?)
        }
    }))
}

fn retrying<S, E>(stack: &Stack, clock: &Clock, inner: S) -> Client
where
    S: Service<Request<()>, Response = Response<()>, Error = E, Future: Send> + Clone + Send + 'static,
    E: AsRejection + Into<BoxError> + Send + 'static,
{
    let policy = RetryPolicy::http().max_attempts(stack.attempts).backoff(stack.backoff.clone()).random(random);
    let policy = match stack.budget(clock).unwrap() {
        Some(budget) => policy.budget(budget),
        None => policy,
    };
    let retry = RetryLayer::new(policy.build().unwrap());
    BoxCloneService::new(ServiceBuilder::new().map_err(BoxError::from).layer(retry).service(inner))
}

/// A client as the README stacks it.
fn client(stack: &Stack, clock: &Clock, downstream: Client) -> Client {
    let timed = ServiceBuilder::new().layer(TimeoutLayer::new(TIMEOUT)).service(downstream);
    match stack.circuit(clock).unwrap() {
        Some(circuit) => {
            retrying(stack, clock, ServiceBuilder::new().layer(CircuitBreakerLayer::http(circuit)).service(timed))
        }
        None => retrying(stack, clock, timed),
    }
}

/// What [`Fleet::run`] does, through the layers.
async fn layered(fleet: &Fleet, stack: &Stack) -> Record {
    seed(fleet.seed);
    let clock = Clock::tokio();
    let world = World { downstream: Downstream::new(fleet), faults: Faults::new(fleet), record: Record::default() };
    let world = Arc::new(Mutex::new(world));
    let service = downstream(clock.clone(), Arc::clone(&world));
    let clients: Vec<_> = (0..fleet.clients).map(|_| client(stack, &clock, service.clone())).collect();
    drop(service);
    let mut requests = JoinSet::new();
    for (at, client) in fleet.requests() {
        until(&clock, at).await;
        let call = clients[client].clone().oneshot(Request::new(()));
        requests.spawn(async move { (second(at), call.await.is_ok_and(|response| response.status().is_success())) });
    }
    let ended = requests.join_all().await;
    drop(clients);
    let mut record = Arc::into_inner(world).unwrap().into_inner().unwrap().record;
    for (second, well) in ended {
        record.made(second);
        if well {
            record.answered(second);
        }
    }
    record
}

/// The recovery, as the seconds' worth of requests that were lost after the brown-out. The moment from which nine in ten are
/// answered is too coarse among twenty: whether two or three circuits pause once more is chance.
fn lost(record: &Record) -> f64 {
    record.goodput().iter().skip(BROWN_OUT.end as usize).map(|answered| 1.0 - answered).sum()
}

const SEEDS: u32 = 5;

/// What the records of all seeds come to on the average, and how far the layers may be from the simulation. The two draw the same
/// waits, but for other requests, and tokio's timers end with a millisecond: a probe that fails in one may succeed in the
/// other.
fn averages(records: &[(Fleet, Record)]) -> [(&'static str, f64, f64); 6] {
    let average = |value: &dyn Fn(&Figures) -> f64| {
        records.iter().map(|(fleet, record)| value(&record.figures(fleet))).sum::<f64>() / f64::from(SEEDS)
    };
    let load = average(&|figures| figures.load);
    [
        ("load", load, 0.03 * load),
        ("worst", average(&|figures| figures.worst), 0.2 * average(&|figures| figures.worst)),
        ("calm", average(&|figures| figures.calm), 0.005),
        ("answered", average(&|figures| figures.answered), 0.02),
        ("wasted", average(&|figures| figures.wasted), 0.01),
        ("lost", records.iter().map(|(_, record)| lost(record)).sum::<f64>() / f64::from(SEEDS), 1.5),
    ]
}

#[tokio::test(start_paused = true)]
async fn the_layers_do_what_is_simulated() {
    for stack in stacks::protections().iter().chain(stacks::circuits().iter().skip(1).step_by(2)) {
        let (mut layers, mut simulation) = (Vec::new(), Vec::new());
        for seed in (1..=SEEDS).map(u64::from) {
            let fleet = Fleet { clients: 20, rate: 40, seed };
            layers.push((fleet, layered(&fleet, stack).await));
            simulation.push((fleet, fleet.run(stack).unwrap()));
        }
        for ((what, layers, _), (_, simulation, by)) in averages(&layers).into_iter().zip(averages(&simulation)) {
            assert!((layers - simulation).abs() <= by, "{}: {what} {layers:.3}, simulated {simulation:.3}", stack.name);
        }
    }
}

fn named(stacks: Vec<Stack>, name: &str) -> Stack {
    stacks.into_iter().find(|stack| stack.name == name).unwrap()
}

fn figures(fleet: &Fleet, stack: &Stack) -> Figures {
    fleet.run(stack).unwrap().figures(fleet)
}

#[test]
fn the_same_seed_gives_the_same_table_and_charts_and_another_does_not() {
    let written = |seed| {
        let fleet = Fleet { clients: 50, rate: 50, seed };
        let runs = runs(&fleet, &stacks::protections()[3..]).unwrap();
        let charts = [charts::over_time(&fleet, &runs, &["jitter, breaker"]), charts::by_clients(&[(fleet, runs)])];
        charts.map(Result::unwrap)
    };
    assert_eq!(written(1), written(1));
    assert_ne!(written(1), written(2));
    let fleet = Fleet { clients: 50, rate: 50, seed: 1 };
    let table = || table(&fleet, &runs(&fleet, &stacks::protections()[3..]).unwrap());
    assert_eq!(table(), table());
}

#[test]
fn overload_outlives_its_cause_where_each_request_is_tried_four_times() {
    let fleet = Fleet { clients: 100, rate: 100, seed: 1 };
    assert!(figures(&fleet, &named(stacks::protections(), "no retries")).recovery.unwrap() <= 2);
    for name in ["retries at once", "retries in step", "retries with jitter"] {
        let figures = figures(&fleet, &named(stacks::protections(), name));
        assert_eq!(figures.recovery, None, "{name}");
        assert!(figures.wasted > 0.9, "{name}");
    }
}

#[test]
fn a_reserve_is_for_each_client_so_that_many_clients_have_no_limit() {
    let budget = named(stacks::protections(), "jitter, budget as it comes");
    let without = named(stacks::protections(), "retries with jitter");
    // 10 retries in 10 s and a fifth of the requests.
    for (clients, rate, load) in [(20, 200, 1.3), (50, 100, 1.7), (100, 100, 2.2)] {
        let figures = figures(&Fleet { clients, rate, seed: 1 }, &budget);
        assert!((figures.load - load).abs() < 0.1, "{clients} clients: {}", figures.load);
    }
    let fleet = Fleet { clients: 500, rate: 50, seed: 1 };
    assert_eq!(fleet.run(&budget).unwrap(), fleet.run(&without).unwrap());
}

#[test]
fn a_circuit_whose_probes_do_not_come_within_its_timeout_does_not_close() {
    // A request in 33 s, and three permits in 30.
    let fleet = Fleet { clients: 660, rate: 20, seed: 1 };
    let lost = |name| lost(&fleet.run(&named(stacks::circuits(), name)).unwrap());
    for (name, closes) in
        [("breaker", false), ("10 permits", false), ("1 permit", true), ("10 permits, timeout 300 s", true)]
    {
        let lost = lost(name);
        assert!(if closes { lost < 3.0 } else { lost > 15.0 }, "{name}: {lost}");
    }
}

#[test]
fn probes_are_requests_so_they_never_exceed_the_usual_load() {
    // A hundred circuits with ten permits, all of which open within two seconds.
    let fleet = Fleet { clients: 100, rate: 400, seed: 1 };
    let load = fleet.run(&named(stacks::circuits(), "10 permits")).unwrap().load(&fleet);
    let probing = load[40..80].iter().copied().fold(0.0, f64::max);
    assert!(probing > 0.3 && probing < 1.2, "{probing}");
}

#[test]
fn a_full_queue_refuses_and_a_caller_that_has_gone_is_served_all_the_same() {
    let fleet = Fleet { clients: 1, rate: 20, seed: 1 };
    let mut downstream = Downstream::new(&fleet);
    let now = Tick::default();
    let fates: Vec<_> = (0..41).map(|_| downstream.take(now)).collect();
    // 30 a second, and 20 ms on the way.
    let last = Duration::from_nanos(1_333_333_334) + Duration::from_millis(20);
    assert_eq!(fates[39], Fate::Done(now.after(last)));
    assert_eq!(fates[40], Fate::Refused(now.after(Duration::from_millis(1))));
    let half = now.after(Duration::from_millis(500));
    assert_eq!(downstream.take(half), Fate::Done(Tick::from_nanos(1_366_666_667).after(Duration::from_millis(20))));
}

#[test]
fn a_brown_out_delays_what_is_queued_when_it_begins() {
    let mut downstream = Downstream::new(&Fleet { clients: 1, rate: 20, seed: 1 });
    let begin = Tick::default().after(Duration::from_secs(BROWN_OUT.start.into()));
    let early = Tick::from_nanos(begin.as_nanos() - 500_000_000);
    let last = (0..24).map(|_| downstream.take(early)).last();
    // Fifteen before it begins, and nine at nine a second.
    assert_eq!(last, Some(Fate::Done(begin.after(Duration::from_millis(1_020)))));
}
