//! What operators see: audit record, heartbeats, statistics, forecasts and dead letters.

pub mod api_key;
pub mod audit;
pub mod audit_chain;
pub mod dead_letter;
pub mod forecast;
pub mod heartbeat;
pub mod statistics;
