//! What a brown-out makes of a fleet of clients, each with retries, a budget and a circuit of its own, as processes have them.
//!
//! It is simulated in virtual time: for a minute the downstream can do three tenths of what it could. What each client
//! decides is decided by the crate's own [`Backoff`](portcullis::retry::Backoff), [`Budget`](portcullis::retry::Budget) and
//! [`Circuit`](portcullis::breaker::Circuit), under a clock that is moved by hand; `tests.rs` holds it beside the real layers. It
//! prints a table and writes charts, the same for the same seed.
//!
//! ```sh
//! cargo run --example fleet -- --clients 100,1000,10000 target/fleet
//! ```
//!
//! The crate's guide to fleets says what it teaches; its charts are in `src/guide/fleet/`.

mod fleet; // events in their order
mod client; // what each decides
mod downstream; // what they call
mod stacks; // the settings that are compared
mod record; // what is seen of it
mod report; // as a table
mod charts; // and drawn
#[cfg(test)]
mod tests;

use std::{cell::RefCell, error::Error, fs, io::Write, ops::Range, path::PathBuf, thread};

use clap::{Parser, value_parser};
use portcullis::ConfigError;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    fleet::Fleet,
    report::{Run, runs, table},
    stacks::Stack,
};

/// The seconds in which the downstream can do three tenths of what it could.
const BROWN_OUT: Range<u32> = 30..90;
/// What is watched ends here.
const END: u32 = 210;
/// And here the requests end: later, so that the last that are watched have the same company as the others.
const LAST: u32 = 230;

thread_local! {
    static RANDOM: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(0));
}

/// Begins this thread's randomness anew.
fn seed(seed: u64) {
    RANDOM.set(StdRng::seed_from_u64(seed));
}

/// From 0 to 1: the randomness of backoffs and of open times.
fn random() -> f64 {
    RANDOM.with_borrow_mut(RngExt::random)
}

/// Simulates a fleet of clients and a downstream that browns out.
#[derive(Parser)]
struct Arguments {
    /// How many clients: one fleet for each number.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000", value_parser = value_parser!(u32).range(1..=100_000))]
    clients: Vec<u32>,
    /// Requests a second, among all clients of a fleet.
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u32).range(20..=100_000))]
    rate: u32,
    /// What all randomness follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the charts are written.
    #[arg(default_value = "target/fleet")]
    directory: PathBuf,
}

const LEGEND: &str = "\
calm:      requests that were answered before the brown-out
load:      calls of the brown-out, as a multiple of its requests
worst:     most calls in 100 ms, as a multiple of the usual
answered:  requests of the brown-out that were answered in the end
wasted:    what the downstream did from then on, and nobody waited for any more
recovery:  seconds from the end of the brown-out until nine in ten requests are answered, for good
";

type Ran = Vec<(Fleet, Vec<Run>)>;

/// Each fleet with each stack, on a thread for each fleet.
fn all(fleets: &[Fleet], stacks: &[Stack]) -> Result<Ran, ConfigError> {
    thread::scope(|scope| {
        let threads: Vec<_> = fleets.iter().map(|fleet| scope.spawn(|| Ok((*fleet, runs(fleet, stacks)?)))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("its panic has been printed"));
        joined.collect()
    })
}

fn print(ran: &Ran) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for (fleet, runs) in ran {
        writeln!(out, "{}", table(fleet, runs))?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { clients, rate, seed, directory } = Arguments::parse();
    let fleets: Vec<_> = clients.into_iter().map(|clients| Fleet { clients, rate, seed }).collect();
    let write = |name: &str, svg: String| fs::write(directory.join(name), svg);
    fs::create_dir_all(&directory)?;

    let protections = all(&fleets, &stacks::protections())?;
    print(&protections)?;
    write("protections.svg", charts::by_clients(&protections)?)?;
    let shown = ["no retries", "retries with jitter", "jitter, small budget", "jitter, breaker"];
    // One in the middle for the retries, and the first for the probes: where clients are few and busy they are in step.
    if let Some((fleet, runs)) = protections.get(protections.len() / 2) {
        write("time.svg", charts::over_time(fleet, runs, &shown)?)?;
    }

    let circuits = all(&fleets, &stacks::circuits())?;
    print(&circuits)?;
    write("circuits.svg", charts::by_clients(&circuits)?)?;
    let shown = ["breaker", "open jitter 0.5", "open for 60 s"];
    if let Some((fleet, runs)) = circuits.first() {
        write("probes.svg", charts::over_time(fleet, runs, &shown)?)?;
    }
    writeln!(std::io::stdout(), "{LEGEND}\nCharts: {}", directory.display())?;
    Ok(())
}
