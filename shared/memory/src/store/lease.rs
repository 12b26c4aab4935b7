//! Leases: taking, giving back, prolonging, and the mark that a job is under way.

use std::time::Duration;

use bson::{Document, doc};

use super::documents::{Documents, from_now, is_over, is_text, put, take_away};
use evergrant_document::paths::at;
use evergrant_document::{decode, ids};
use evergrant_domain::{ClaimedDocument, DocumentId, GrantStatus, Timestamp};
use evergrant_ports::ClaimResult;

impl Documents {
    pub(super) fn claim(
        &mut self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
        now: Timestamp,
    ) -> ClaimResult {
        for id in ids {
            if let Some(document) = self.get_mut(id)
                && is_text(document, "evergrant.status", GrantStatus::Active.as_str())
                // A try that comes late takes nothing that its claim has settled.
                && !is_text(document, "evergrant.settled_by", owner)
                && (is_text(document, "evergrant.lease.owner", owner)
                    || is_over(document, "evergrant.lease.until", now))
            {
                let taken_over = decode::taken_over(at(document, "evergrant.lease"), owner);
                let until = from_now(now, lease);
                // Nor does it shorten what a later try took.
                let is_shorter = is_text(document, "evergrant.lease.owner", owner)
                    && !is_over(document, "evergrant.lease.until", now.plus(lease));
                let until = at(document, "evergrant.lease.until")
                    .filter(|_| is_shorter)
                    .cloned()
                    .unwrap_or(until);
                let lease = doc! { "owner": owner, "until": until, "taken_over": taken_over };
                put(document, "evergrant.lease", lease);
            }
        }
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

    pub(super) fn release(&mut self, ids: &[DocumentId], owner: &str) {
        self.for_each_held(ids, owner, |document| take_away(document, "evergrant.lease"));
    }

    pub(super) fn renew(
        &mut self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
        now: Timestamp,
    ) {
        self.for_each_held(ids, owner, |document| {
            put(document, "evergrant.lease.until", from_now(now, lease));
        });
    }

    fn for_each_held(&mut self, ids: &[DocumentId], owner: &str, act: impl Fn(&mut Document)) {
        for id in ids {
            if let Some(document) = self.get_mut(id)
                && is_text(document, "evergrant.lease.owner", owner)
            {
                act(document);
            }
        }
    }

    /// Marks only what is still due: a worker may have been faster.
    pub(super) fn mark_queued(&mut self, ids: &[DocumentId], duration: Duration, now: Timestamp) {
        for id in ids {
            if let Some(document) = self.get_mut(id)
                && is_text(document, "evergrant.status", GrantStatus::Active.as_str())
                && is_over(document, "evergrant.next_refresh_at", now)
            {
                put(document, "evergrant.queued_until", from_now(now, duration));
            }
        }
    }
}
