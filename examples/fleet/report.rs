//! The table.

use std::fmt::Write;

use portcullis::ConfigError;

use crate::{
    fleet::Fleet,
    record::{Figures, Record},
    stacks::Stack,
};

/// One fleet with one stack.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) figures: Figures,
    /// Second by second.
    pub(crate) load: Vec<f64>,
    pub(crate) answered: Vec<f64>,
}

impl Run {
    pub(crate) fn new(name: &'static str, fleet: &Fleet, record: &Record) -> Self {
        Self { name, figures: record.figures(fleet), load: record.load(fleet), answered: record.goodput() }
    }
}

/// Runs one fleet with each of the stacks.
pub(crate) fn runs(fleet: &Fleet, stacks: &[Stack]) -> Result<Vec<Run>, ConfigError> {
    stacks.iter().map(|stack| Ok(Run::new(stack.name, fleet, &fleet.run(stack)?))).collect()
}

/// The runs of one fleet as a table.
pub(crate) fn table(fleet: &Fleet, runs: &[Run]) -> String {
    let rhythm = f64::from(fleet.clients) / f64::from(fleet.rate);
    let mut text = format!("{} clients, {} requests/s: each sends one in {rhythm:.2} s\n", fleet.clients, fleet.rate);
    let heads = ["calm %", "load x", "worst x", "answered %", "wasted %", "recovery s"];
    let _ = write!(text, "{:30}", "");
    for head in heads {
        let _ = write!(text, "{head:>11}");
    }
    text.push('\n');
    for Run { name, figures, .. } in runs {
        let Figures { calm, load, worst, answered, wasted, recovery } = figures;
        let recovery = recovery.map_or("never".to_owned(), |seconds| seconds.to_string());
        let [calm, answered, wasted] = [calm, answered, wasted].map(|share| share * 100.0);
        let _ = writeln!(text, "{name:30}{calm:11.2}{load:11.2}{worst:11.2}{answered:11.1}{wasted:11.1}{recovery:>11}");
    }
    text
}
