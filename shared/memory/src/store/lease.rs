//! Leases, as workers take and give them back.

use std::time::Duration;

use super::documents::Documents;
use evergrant_document::transition::{self, DocumentTransition, LeaseEnd};
use evergrant_document::{decode, ids};
use evergrant_domain::{ClaimedDocument, DocumentId, Timestamp};
use evergrant_ports::ClaimResult;

impl Documents {
    pub(super) fn claim(
        &mut self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
        now: Timestamp,
    ) -> ClaimResult {
        let claim = transition::claim(&self.names, owner, lease, LeaseEnd::ByClock);
        self.carry_out(ids, &claim, now);
        let rows = ids.iter().map(|id| self.note_first_use(id, owner)).collect();
        ClaimResult { now, rows }
    }

    /// The row of a claim; as a twin, if another document had its token first.
    fn note_first_use(&mut self, id: &DocumentId, owner: &str) -> ClaimedDocument {
        let Some(found) = self.get(id) else { return ClaimedDocument::Absent };
        let row = decode::row(&self.names, found, owner);
        let Some(first_use) = row.first_use() else { return row };
        let id = ids::canonical(id);
        let first = self.first_tokens.entry(first_use.key()).or_insert_with(|| id.clone()).clone();
        let holder = self.get(&first).map(|first| decode::first_holder(&self.names, first));
        if first != id && holder.is_some_and(|holder| holder.keeps(&first_use.fingerprint)) {
            return first_use.twin_of(first);
        }
        self.first_tokens.insert(first_use.key(), id);
        row
    }

    /// Carries out a transition of each of these documents, on its condition.
    pub(super) fn carry_out(
        &mut self,
        ids: &[DocumentId],
        transition: &DocumentTransition,
        now: Timestamp,
    ) {
        for id in ids {
            self.get_mut(id).map(|document| transition.carry_out(document, now));
        }
    }
}
