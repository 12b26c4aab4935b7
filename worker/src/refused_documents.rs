//! What a lane remembers of the documents that the store refuses.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_domain::refusals::Refusals;
use tokio::time::Instant;

/// For so long a further job of a refused document is dropped unseen. The producer waits longer than this
/// before it makes one.
const PARKED_FOR: Duration = Duration::from_secs(20);

/// The documents of a lane that the store refuses.
pub(crate) struct RefusedDocuments {
    refusals: Mutex<Refusals>,
    began_at: Instant,
}

impl RefusedDocuments {
    pub(crate) fn new() -> Self {
        let refusals = Mutex::new(Refusals::new(PARKED_FOR, PARKED_FOR));
        Self { refusals, began_at: Instant::now() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment, as [`Refusals`] counts them.
    pub(crate) fn at(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.began_at)
    }
}
