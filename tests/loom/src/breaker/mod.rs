//! The seam and the core as they are, and the models.

#[path = "../../../../src/breaker/bell.rs"]
mod bell;
#[path = "../../../../src/breaker/cause.rs"]
mod cause;
#[path = "../../../../src/breaker/change.rs"]
mod change;
#[path = "../../../../src/breaker/half_open.rs"]
mod half_open;
#[path = "../../../../src/breaker/limits.rs"]
mod limits;
#[path = "../../../../src/breaker/log.rs"]
mod log;
#[path = "../../../../src/breaker/machine.rs"]
mod machine;
mod models;
#[path = "../../../../src/breaker/opening.rs"]
mod opening;
#[path = "../../../../src/breaker/rules.rs"]
mod rules;
#[path = "../../../../src/breaker/shared.rs"]
mod shared;
#[path = "../../../../src/breaker/snapshot.rs"]
mod snapshot;
#[path = "../../../../src/breaker/stripes.rs"]
mod stripes;
#[path = "../../../../src/breaker/sync.rs"]
mod sync;
#[path = "../../../../src/breaker/window.rs"]
mod window;
#[path = "../../../../src/breaker/word.rs"]
mod word;
#[path = "../../../../src/breaker/phase.rs"]
mod phase;
#[path = "../../../../src/breaker/plan.rs"]
mod plan;
#[path = "../../../../src/breaker/probes.rs"]
mod probes;
#[path = "../../../../src/breaker/refusal.rs"]
mod refusal;
