//! Documents that cannot be marked as queued: this process remembers when each had its last job.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_domain::DocumentId;
use evergrant_domain::refusals::Refusals;
use tokio::time::Instant;

/// After so long such a document has another job; the wait doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Documents that the store refuses to mark, of one provider.
pub(crate) struct Unmarked {
    refusals: Mutex<Refusals>,
    began_at: Instant,
}

impl Unmarked {
    pub(crate) fn new() -> Self {
        let refusals = Mutex::new(Refusals::new(FIRST_WAIT, LONGEST_WAIT));
        Self { refusals, began_at: Instant::now() }
    }

    /// Whether it is too early for another job.
    pub(crate) fn is_parked(&self, id: &DocumentId) -> bool {
        self.lock().is_parked(id, self.began_at.elapsed())
    }

    /// The store refused to mark it. True if that is news.
    pub(crate) fn park(&self, id: &DocumentId) -> bool {
        self.lock().park(id, self.began_at.elapsed())
    }

    /// The store marked these.
    pub(crate) fn forget(&self, ids: &[DocumentId]) {
        let mut refusals = self.lock();
        if !refusals.is_empty() {
            for id in ids {
                refusals.forget(id);
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let mut refusals = self.lock();
        refusals.forget_old(self.began_at.elapsed());
        refusals.len()
    }

    fn lock(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
