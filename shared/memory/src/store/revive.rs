//! Grants that have ended and live again.

use std::time::Duration;

use bson::Document;

use super::documents::{Documents, is_text};
use evergrant_document::decode;
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::transition::{self, DocumentTransition};
use evergrant_domain::{DocumentId, LastError, ProviderId, Timestamp};
use evergrant_ports::{DueGrant, SweepPlace, SweepResult};

impl Documents {
    /// A part of a sweep.
    pub(super) fn sweep(
        &mut self,
        after: Option<SweepPlace>,
        most: u32,
        now: Timestamp,
    ) -> SweepResult {
        let place = after.unwrap_or_else(SweepPlace::beginning);
        let looked_at: Vec<_> = self
            .after(place.id.as_ref())
            .filter(|(_, document)| is_text(document, "evergrant.status", place.status.as_str()))
            .take(most as usize)
            .map(|(id, _)| id.clone())
            .collect();
        let next = place.next(looked_at.len(), most, looked_at.last().cloned());
        let revived = self.revive(looked_at, now, transition::revive_signed_in);
        SweepResult { revived, next }
    }

    pub(super) fn revive_dead(
        &mut self,
        provider: &ProviderId,
        since: Timestamp,
        now: Timestamp,
    ) -> u64 {
        let all = self.after(None).map(|(id, _)| id.clone()).collect();
        self.revive(all, now, |names, document| {
            transition::revive_disbelieved(names, document, provider, since)
        })
    }

    /// Carries out what there is to do with each of these documents, and says with how many.
    fn revive(
        &mut self,
        ids: Vec<DocumentId>,
        now: Timestamp,
        revival: impl Fn(&FieldPaths, &Document) -> Option<DocumentTransition>,
    ) -> u64 {
        let revive = |id: &DocumentId| {
            let revival = revival(&self.names, self.get(id)?)?;
            Some(revival.carry_out(self.get_mut(id)?, now))
        };
        ids.iter().filter_map(revive).filter(|is_revived| *is_revived).count() as u64
    }

    pub(super) fn withhold(
        &mut self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
        now: Timestamp,
    ) -> bool {
        let withhold =
            |names: &_, document: &_| transition::withhold(names, document, spent, last_error);
        self.revive(vec![id.clone()], now, withhold) > 0
    }

    pub(super) fn reactivate(
        &mut self,
        id: &DocumentId,
        queued: Duration,
        now: Timestamp,
    ) -> Option<DueGrant> {
        let reactivation = transition::reactivate(&self.names, queued);
        reactivation.carry_out(self.get_mut(id)?, now);
        decode::active_grant(&self.names, self.get(id)?)
    }
}
