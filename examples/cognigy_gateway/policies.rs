//! Circuits and retries as the settings have them: those of the downstream, and those of Cognigy's inject API.

use portcullis::{
    ConfigError,
    breaker::{Circuit, HalfOpen},
    outcome::Http,
    retry::{Backoff, Jitter, RetryPolicy, RetryPolicyBuilder},
    time::Clock,
};

use crate::settings::Settings;

/// A circuit as the settings have it. Both routes share one, since they share one downstream.
pub(crate) fn circuit(name: &'static str, settings: &Settings) -> Result<Circuit, ConfigError> {
    let mut circuit = Circuit::builder(name)
        // The wait is told in whole seconds, rounded up: with what a coarse clock may lag it would be a second too long.
        .clock(Clock::precise())
        .failure_rate(settings.breaker_error_rate)
        .slow_call(settings.breaker_slow_call)
        .slow_call_rate(settings.breaker_slow_rate)
        .minimum_calls(settings.breaker_min_calls.into())
        .window(settings.breaker_window)
        .open_for(settings.breaker_open_for)
        .half_open(
            HalfOpen::permits(settings.breaker_probes)
                .successes(settings.probe_successes())
                .timeout(settings.breaker_half_open_timeout),
        );
    // Each of these is off at zero.
    if settings.breaker_consecutive_failures > 0 {
        circuit = circuit.consecutive_failures(settings.breaker_consecutive_failures);
    }
    if settings.breaker_failures > 0 {
        circuit = circuit.failures(settings.breaker_failures.into());
    }
    if !settings.breaker_mean_latency.is_zero() {
        circuit = circuit.mean_latency(settings.breaker_mean_latency);
    }
    // There are two at most, for as long as the gateway runs.
    circuit.build().map(Circuit::leak)
}

/// Retries as the settings have them.
pub(crate) fn retries(settings: &Settings) -> RetryPolicyBuilder<Http, Http> {
    RetryPolicy::http()
        .max_attempts(settings.retry_max_attempts)
        .backoff(
            Backoff::exponential(settings.retry_base_delay, settings.retry_max_delay)
                .jitter(Jitter::Additive(settings.retry_jitter)),
        )
        .retry_after_max(settings.retry_after_max)
        .hint_jitter(0.1)
}
