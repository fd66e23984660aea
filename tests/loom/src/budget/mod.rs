//! The seam and the core of the retry budget as they are, and the models.

#[path = "../../../../src/retry/budget/account.rs"]
mod account;
mod models;
#[path = "../../../../src/retry/budget/shared.rs"]
mod shared;
#[path = "../../../../src/retry/budget/sync.rs"]
mod sync;
