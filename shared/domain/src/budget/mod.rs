//! When a request may be sent to a provider.

pub mod cell;
pub mod clock_offset;
pub mod concurrency;
pub mod gate;
pub mod limit;
pub mod provider_state;
pub mod punctuality;
