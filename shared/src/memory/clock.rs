//! The time of a store and a broker that are no processes of their own.

use tokio::time::Instant;

use crate::domain::Timestamp;

/// The runtime's clock, set to a time of the calendar. Where the runtime's time is paused, so is this.
#[derive(Debug, Clone, Copy)]
pub struct MemoryClock {
    base: Timestamp,
    started: Instant,
}

impl MemoryClock {
    /// A clock that shows `base` now.
    pub fn starting_at(base: Timestamp) -> Self {
        Self { base, started: Instant::now() }
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        self.base.plus(self.started.elapsed())
    }
}
