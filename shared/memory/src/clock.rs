//! The time of a store and a broker that are no processes of their own.

use tokio::time::Instant;

use evergrant_domain::Timestamp;

/// The runtime's clock, set to a time of the calendar. Where the runtime's time is paused, so is this.
#[derive(Debug, Clone, Copy)]
pub struct MemoryClock {
    base: Timestamp,
    /// None if it stands still.
    started: Option<Instant>,
}

impl MemoryClock {
    /// A clock that shows `base` now.
    pub fn starting_at(base: Timestamp) -> Self {
        Self { base, started: Some(Instant::now()) }
    }

    /// A clock that shows `time` for ever.
    pub const fn stopped_at(time: Timestamp) -> Self {
        Self { base: time, started: None }
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        self.base.plus(self.started.map(|started| started.elapsed()).unwrap_or_default())
    }
}
