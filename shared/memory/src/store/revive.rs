//! Grants that have ended and live again.

use std::time::Duration;

use bson::Document;

use super::commit::apply;
use super::documents::{Documents, from_now, is_text, put, take_away};
use evergrant_document::decode;
use evergrant_document::document_update::{
    DocumentUpdate, FORGOTTEN, OF_A_DEATH, OF_AN_END, OF_THE_OLD_GRANT, date, holds_token,
};
use evergrant_domain::{DocumentId, EndedDocument, GrantStatus, LastError, ProviderId, Timestamp};
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
            .map(|(id, document)| (id.clone(), decode::ended(&self.names, document)))
            .collect();
        let next = place.next(looked_at.len(), most, looked_at.last().map(|(id, _)| id.clone()));
        let live =
            looked_at.into_iter().filter_map(|(id, ended)| ended?.lives_again().then_some(id));
        let revived = self.make_all_active(
            live.collect(),
            now,
            &[&FORGOTTEN[..], &OF_THE_OLD_GRANT].concat(),
        );
        SweepResult { revived, next }
    }

    pub(super) fn revive_dead(
        &mut self,
        provider: &ProviderId,
        since: Timestamp,
        now: Timestamp,
    ) -> u64 {
        let is_dead = |document: &Document| {
            let view = decode::view(&self.names, document);
            let ended = decode::ended(&self.names, document);
            view.status == Some(GrantStatus::NeedsReauth)
                && view.provider.as_ref() == Some(provider)
                && view.last_error.is_some_and(|error| error.at >= since)
                && ended.as_ref().is_some_and(EndedDocument::holds_what_ended)
        };
        let dead = self.after(None).filter(|(_, document)| is_dead(document));
        let dead = dead.map(|(id, _)| id.clone()).collect();
        self.make_all_active(dead, now, &OF_A_DEATH)
    }

    fn make_all_active(&mut self, ids: Vec<DocumentId>, now: Timestamp, forgotten: &[&str]) -> u64 {
        for id in &ids {
            if let Some(document) = self.get_mut(id) {
                make_active(document, now, forgotten);
            }
        }
        ids.len() as u64
    }

    pub(super) fn withhold(
        &mut self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> bool {
        let names = &self.names;
        let found = self.get(id).filter(|found| holds_token(names, found, spent));
        let change = found
            .map(|found| DocumentUpdate::withheld(names, spent, last_error, found).operators());
        let Some((document, change)) = self.get_mut(id).zip(change) else { return false };
        apply(document, &change);
        true
    }

    pub(super) fn reactivate(
        &mut self,
        id: &DocumentId,
        queued: Duration,
        now: Timestamp,
    ) -> Option<DueGrant> {
        let document = self.get_mut(id)?;
        let has = |status: &GrantStatus| is_text(document, "evergrant.status", status.as_str());
        if SweepPlace::ENDED.iter().any(has) {
            make_active(document, now, &OF_AN_END);
            put(document, "evergrant.queued_until", from_now(now, queued));
        }
        let view = decode::view(&self.names, self.get(id)?);
        (view.status == Some(GrantStatus::Active)).then_some(())?;
        Some(DueGrant {
            id: view.id,
            provider: view.provider?,
            generation: view.generation,
            next_refresh_at: view.next_refresh_at.unwrap_or_default(),
        })
    }
}

/// Active and due, with `forgotten` forgotten.
fn make_active(document: &mut Document, now: Timestamp, forgotten: &[&str]) {
    put(document, "evergrant.status", GrantStatus::Active.as_str());
    put(document, "evergrant.attempts", 0);
    put(document, "evergrant.next_refresh_at", date(now));
    for part in forgotten {
        take_away(document, &format!("evergrant.{part}"));
    }
}
