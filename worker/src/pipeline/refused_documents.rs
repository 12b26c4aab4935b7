//! The documents of a lane that the store refuses.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_domain::refusals::WriteRefusals;
use tokio::time::Instant;

/// Further jobs of a refused document are dropped for this time. The producer waits longer before
/// it publishes another.
const PARKED_DELAY: Duration = Duration::from_secs(20);

/// The documents of a lane that the store refuses.
pub(crate) struct RefusedDocuments {
    refusals: Mutex<WriteRefusals>,
    began_at: Instant,
}

impl RefusedDocuments {
    pub(crate) fn new() -> Self {
        let refusals = Mutex::new(WriteRefusals::new(PARKED_DELAY, PARKED_DELAY));
        Self { refusals, began_at: Instant::now() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, WriteRefusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of `moment`, as [`WriteRefusals`] counts it.
    pub(crate) fn at(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.began_at)
    }
}
