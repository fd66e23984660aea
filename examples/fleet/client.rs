//! One client: a process with a retry policy, a budget and a circuit of its own. What it decides, the crate's own parts decide;
//! here is the order in which the layers ask them.

use std::time::Duration;

use portcullis::{
    ConfigError,
    breaker::{Circuit, Permit},
    retry::{Backoff, Budget, Withdrawal},
    time::Clock,
};

use crate::{random, stacks::Stack};

pub(crate) struct Client {
    attempts: u32,
    backoff: Backoff,
    budget: Option<Budget>,
    circuit: Option<Circuit>,
}

/// A request on its way, from the first attempt to the last.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) client: usize,
    /// The second in which it was made.
    pub(crate) second: usize,
    attempts: u32,
    backoff: Duration,
    permit: Option<Permit>,
    taken: Option<Withdrawal>,
}

impl Request {
    pub(crate) fn new(client: usize, second: usize) -> Self {
        Self { client, second, ..Self::default() }
    }
}

impl Client {
    pub(crate) fn new(stack: &Stack, clock: &Clock) -> Result<Self, ConfigError> {
        Ok(Self {
            attempts: stack.attempts,
            backoff: stack.backoff.clone(),
            budget: stack.budget(clock)?,
            circuit: stack.circuit(clock)?,
        })
    }

    /// Begins an attempt, unless the circuit rejects it: that ends the request, and the budget gets back what it gave.
    pub(crate) fn may_send(&self, request: &mut Request) -> bool {
        request.attempts += 1;
        let taken = request.taken.take();
        if let Some(circuit) = &self.circuit {
            let Ok(permit) = circuit.acquire() else { return false };
            request.permit = Some(permit);
        }
        if let Some(taken) = taken {
            taken.spend();
        }
        true
    }

    /// Ends an attempt; returns how long to wait for the next one, if there is to be one.
    pub(crate) fn ended(&self, request: &mut Request, well: bool) -> Option<Duration> {
        match request.permit.take() {
            Some(permit) if well => permit.success(),
            Some(permit) => permit.failure(),
            None => {}
        }
        if let Some(budget) = &self.budget
            && request.attempts == 1
        {
            budget.record_request();
        }
        if well || request.attempts >= self.attempts {
            return None;
        }
        request.backoff = self.backoff.delay(request.attempts, request.backoff, random());
        if let Some(budget) = &self.budget {
            request.taken = Some(budget.try_withdraw()?);
        }
        Some(request.backoff)
    }
}
