//! Documents that the store refuses to write.
//!
//! Nothing can be recorded in such a document, so a process remembers it. It is retried alone,
//! after waits that double, and delays no other document. The memory is bounded and ends with the
//! process.

use std::collections::HashMap;
use std::time::Duration;

use crate::DocumentId;

/// The most documents that are remembered; beyond that, the one refused longest ago is forgotten.
const DOCUMENTS_MAX: usize = 10_000;
/// A document without a refusal for this long is forgotten, because it may be gone.
const REFUSAL_TTL: Duration = Duration::from_secs(12 * 3_600);

/// Documents that the store refuses to write. All times have the same arbitrary origin.
#[derive(Debug)]
pub struct WriteRefusals {
    first_wait: Duration,
    longest_wait: Duration,
    documents: HashMap<DocumentId, WriteRefusal>,
    /// When the store last wrote a document.
    accepted_at: Option<Duration>,
    /// Refusals since then.
    in_a_row: u32,
}

/// What is known about one document.
#[derive(Debug)]
struct WriteRefusal {
    first_at: Duration,
    last_at: Duration,
    times: u32,
    parked_until: Duration,
    is_reported: bool,
}

impl WriteRefusal {
    fn park(&mut self, first_wait: Duration, longest_wait: Duration) {
        let doubled = first_wait.saturating_mul(2_u32.saturating_pow(self.times - 1));
        self.parked_until = self.last_at.saturating_add(doubled.min(longest_wait));
    }
}

/// Why the store refused a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCause {
    /// Unknown: it has written no other document since, so it may refuse every write.
    Unknown {
        /// How many times it refused this one.
        times: u32,
    },
    /// The document: the store writes others.
    Document {
        /// Whether it was not reported yet. True once, until the store writes the document.
        is_new: bool,
    },
}

impl WriteRefusals {
    /// An empty memory. A refused document is parked for `first_wait`, then for twice as long each
    /// time, up to `longest_wait`.
    pub fn new(first_wait: Duration, longest_wait: Duration) -> Self {
        let documents = HashMap::new();
        Self { first_wait, longest_wait, documents, accepted_at: None, in_a_row: 0 }
    }

    /// Whether the store refused this document the last time.
    pub fn contains(&self, id: &DocumentId) -> bool {
        self.documents.contains_key(id)
    }

    /// Whether it is too early to retry this document.
    pub fn is_parked(&self, id: &DocumentId, now: Duration) -> bool {
        self.documents.get(id).is_some_and(|refusal| now < refusal.parked_until)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// How many documents the store refused since it last wrote one.
    pub const fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Notes that the store refused this document alone, after refusing it in a batch at `since`.
    /// The document is parked if it is the cause.
    pub fn refuse(&mut self, id: &DocumentId, since: Duration, now: Duration) -> RefusalCause {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let (first_wait, longest_wait) = (self.first_wait, self.longest_wait);
        let accepted_at = self.accepted_at;
        let refusal = self.note(id, since, now);
        if accepted_at.is_none_or(|at| at < refusal.first_at) {
            return RefusalCause::Unknown { times: refusal.times };
        }
        refusal.park(first_wait, longest_wait);
        RefusalCause::Document { is_new: !std::mem::replace(&mut refusal.is_reported, true) }
    }

    /// Notes that the store refused a write for this document that can wait: it is parked, whatever
    /// the cause. True if it was not parked before.
    pub fn park(&mut self, id: &DocumentId, now: Duration) -> bool {
        let is_new = !self.contains(id);
        let (first_wait, longest_wait) = (self.first_wait, self.longest_wait);
        self.note(id, now, now).park(first_wait, longest_wait);
        is_new
    }

    /// Notes that the store wrote these documents. Returns those that it had refused before.
    pub fn accept(&mut self, ids: &[DocumentId], now: Duration) -> Vec<DocumentId> {
        if ids.is_empty() {
            return Vec::new();
        }
        (self.accepted_at, self.in_a_row) = (Some(now), 0);
        if self.documents.is_empty() {
            return Vec::new();
        }
        ids.iter().filter(|id| self.documents.remove(id).is_some()).cloned().collect()
    }

    fn note(&mut self, id: &DocumentId, since: Duration, now: Duration) -> &mut WriteRefusal {
        self.make_room(id, now);
        let refusal = self.documents.entry(id.clone()).or_insert_with(|| WriteRefusal {
            first_at: since,
            last_at: now,
            times: 0,
            parked_until: now,
            is_reported: false,
        });
        refusal.times = refusal.times.saturating_add(1);
        refusal.last_at = now;
        refusal
    }

    /// Forgets a document that was not written but needs no write: it is gone, or another worker
    /// has it. True if the store had refused it.
    pub fn forget(&mut self, id: &DocumentId) -> bool {
        self.documents.remove(id).is_some()
    }

    fn make_room(&mut self, id: &DocumentId, now: Duration) {
        if self.documents.len() < DOCUMENTS_MAX || self.documents.contains_key(id) {
            return;
        }
        self.forget_old(now);
        if self.documents.len() >= DOCUMENTS_MAX {
            let oldest = self.documents.iter().min_by_key(|(_, refusal)| refusal.last_at);
            let oldest = oldest.map(|(id, _)| id.clone());
            oldest.and_then(|oldest| self.documents.remove(&oldest));
        }
    }

    /// Forgets documents that were not refused for long, because they may be gone.
    pub fn forget_old(&mut self, now: Duration) {
        self.documents.retain(|_, refusal| now < refusal.last_at.saturating_add(REFUSAL_TTL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: DocumentId = DocumentId::Integer(1);
    const GOOD: DocumentId = DocumentId::Integer(2);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn refusals() -> WriteRefusals {
        WriteRefusals::new(s(30), s(3_600))
    }

    #[test]
    fn a_document_is_at_fault_only_if_the_store_writes_others() {
        let mut refusals = refusals();
        refusals.accept(&[GOOD], s(1));
        assert_eq!(refusals.refuse(&BAD, s(2), s(2)), RefusalCause::Unknown { times: 1 });
        assert_eq!(refusals.refuse(&BAD, s(3), s(3)), RefusalCause::Unknown { times: 2 });
        assert!(!refusals.is_parked(&BAD, s(3)));
        assert_eq!(refusals.in_a_row(), 2);
        refusals.accept(&[GOOD], s(4));
        assert_eq!(refusals.refuse(&BAD, s(5), s(5)), RefusalCause::Document { is_new: true });
        assert!(refusals.is_parked(&BAD, s(5)));
        assert_eq!(refusals.in_a_row(), 1);
    }

    #[test]
    fn a_write_after_the_batch_blames_the_document() {
        let mut refusals = refusals();
        refusals.accept(&[GOOD], s(2));
        assert_eq!(refusals.refuse(&BAD, s(1), s(3)), RefusalCause::Document { is_new: true });
    }

    #[test]
    fn a_refused_document_is_reported_once_until_it_is_written() {
        let mut refusals = refusals();
        for now in [1, 100] {
            refusals.refuse(&BAD, s(now), s(now));
            refusals.accept(&[GOOD], s(now + 1));
            assert_eq!(
                refusals.refuse(&BAD, s(now + 2), s(now + 2)),
                RefusalCause::Document { is_new: true }
            );
            let again = refusals.refuse(&BAD, s(now + 60), s(now + 60));
            assert_eq!(again, RefusalCause::Document { is_new: false });
            assert_eq!(refusals.accept(&[GOOD, BAD], s(now + 61)), [BAD]);
            assert!(refusals.is_empty());
        }
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let mut refusals = refusals();
        refusals.refuse(&BAD, s(0), s(0));
        refusals.accept(&[GOOD], s(0));
        let mut now = s(0);
        for wait_s in [60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
            refusals.refuse(&BAD, now, now);
            assert!(refusals.is_parked(&BAD, now + s(wait_s - 1)), "{wait_s}");
            now += s(wait_s);
            assert!(!refusals.is_parked(&BAD, now), "{wait_s}");
        }
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let mut refusals = refusals();
        for (id, second) in (0..).zip(0..=DOCUMENTS_MAX as u64) {
            refusals.refuse(&DocumentId::Integer(id), s(second), s(second));
        }
        assert_eq!(refusals.len(), DOCUMENTS_MAX);
        assert!(!refusals.contains(&DocumentId::Integer(0)));
        refusals.forget_old(s(DOCUMENTS_MAX as u64) + REFUSAL_TTL);
        assert!(refusals.is_empty());
    }
}
