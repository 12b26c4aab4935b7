//! Limits: how much of a lane is under way, and how much of the store.

pub(crate) mod away;
pub(crate) mod call_timeout;
pub(crate) mod flow_control;
pub(crate) mod steady_clock;
pub(crate) mod store_limiter;
