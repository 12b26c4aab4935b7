//! When a request may be sent to a provider: rate schedule, circuit breaker, pauses.

pub mod arrival_lateness;
pub mod circuit_breaker;
pub mod clock_offset;
pub mod concurrency;
pub mod limit;
pub mod provider_state;
pub mod rate_schedule;
