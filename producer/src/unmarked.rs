//! Documents that the store refuses to mark as queued. This process remembers when it last
//! published a job for each.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_domain::DocumentId;
use evergrant_domain::refusals::WriteRefusals;
use tokio::time::Instant;

/// The wait before such a document gets another job; it doubles up to [`DELAY_MAX`].
const FIRST_DELAY: Duration = Duration::from_secs(30);
const DELAY_MAX: Duration = Duration::from_secs(3_600);

/// The documents of one provider that the store refuses to mark.
pub(crate) struct UnmarkedDocuments {
    refusals: Mutex<WriteRefusals>,
    began_at: Instant,
}

impl UnmarkedDocuments {
    pub(crate) fn new() -> Self {
        let refusals = Mutex::new(WriteRefusals::new(FIRST_DELAY, DELAY_MAX));
        Self { refusals, began_at: Instant::now() }
    }

    /// Whether it is too early for another job.
    pub(crate) fn is_parked(&self, id: &DocumentId) -> bool {
        self.lock().is_parked(id, self.began_at.elapsed())
    }

    /// Notes that the store refused to mark a document. True if it is the first refusal.
    pub(crate) fn park(&self, id: &DocumentId) -> bool {
        self.lock().park(id, self.began_at.elapsed())
    }

    /// Notes that the store marked these.
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

    fn lock(&self) -> MutexGuard<'_, WriteRefusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
