//! Backpressure: limits on a lane's work under way, and on concurrent store calls.

pub(crate) mod away;
pub(crate) mod call_timeout;
pub(crate) mod flow_control;
pub(crate) mod steady_clock;
pub(crate) mod store_limiter;
