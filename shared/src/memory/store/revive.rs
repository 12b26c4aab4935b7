//! Grants that were given up and live again.

use std::time::Duration;

use mongodb::bson::{Bson, Document};
use secrecy::SecretString;

use super::commit::apply;
use super::documents::{Documents, from_now, is_text, put, take_away};
use crate::domain::grant::fingerprint;
use crate::domain::{DocumentId, LastError, ProviderId, Status, Timestamp};
use crate::mongo::change::{FORGOTTEN, date, holds_token, withheld};
use crate::mongo::decode;
use crate::mongo::names::at;
use crate::ports::DueGrant;

impl Documents {
    pub(super) fn revive_signed_in(&mut self, now: Timestamp) -> u64 {
        self.revive_where(now, |document, died_of, held| {
            is_text(document, "evergrant.status", Status::NeedsReauth.as_str()) && died_of != held
        })
    }

    pub(super) fn revive_dead(
        &mut self,
        provider: &ProviderId,
        since: Timestamp,
        now: Timestamp,
    ) -> u64 {
        self.revive_where(now, |document, died_of, held| {
            let died_at = match at(document, "evergrant.last_error.at") {
                Some(Bson::DateTime(time)) => time.timestamp_millis(),
                _ => return false,
            };
            is_text(document, "evergrant.status", Status::NeedsReauth.as_str())
                && is_text(document, "evergrant.provider", provider.as_str())
                && died_at >= since.unix_ms()
                && died_of == held
        })
    }

    /// `lives` gets a document, the fingerprint of the token that died, and that of the one it holds.
    fn revive_where(
        &mut self,
        now: Timestamp,
        lives: impl Fn(&Document, &str, &str) -> bool,
    ) -> u64 {
        let mut revived = 0;
        let token_field = self.names.fields.refresh_token.clone();
        for document in self.all_mut() {
            let held = at(document, &token_field).and_then(Bson::as_str);
            let Some(held) = held.filter(|token| !token.is_empty()) else { continue };
            let held = fingerprint(&SecretString::from(held));
            let died_of = at(document, "evergrant.dead_fingerprint").and_then(Bson::as_str);
            if died_of.is_some_and(|died_of| lives(document, died_of, &held)) {
                make_active(document, now);
                take_away(document, "evergrant.queued_until");
                revived += 1;
            }
        }
        revived
    }

    pub(super) fn withhold(
        &mut self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> bool {
        let change = withheld(&self.names, spent, last_error);
        let is_spent = |found: &Document| holds_token(&self.names, found, spent);
        if !self.get(id).is_some_and(is_spent) {
            return false;
        }
        if let Some(document) = self.get_mut(id) {
            apply(document, &change);
        }
        true
    }

    pub(super) fn reactivate(
        &mut self,
        id: &DocumentId,
        queued: Duration,
        now: Timestamp,
    ) -> Option<DueGrant> {
        let document = self.get_mut(id)?;
        let ended = [Status::NeedsReauth, Status::Failed];
        if ended.iter().any(|status| is_text(document, "evergrant.status", status.as_str())) {
            make_active(document, now);
            put(document, "evergrant.queued_until", from_now(now, queued));
        }
        let view = decode::view(&self.names, self.get(id)?);
        (view.status == Some(Status::Active)).then_some(())?;
        Some(DueGrant {
            id: view.id,
            provider: view.provider?,
            generation: view.generation,
            next_refresh_at: view.next_refresh_at.unwrap_or_default(),
        })
    }
}

/// Active and due, with its failures forgotten.
fn make_active(document: &mut Document, now: Timestamp) {
    put(document, "evergrant.status", Status::Active.as_str());
    put(document, "evergrant.attempts", 0);
    put(document, "evergrant.next_refresh_at", date(now));
    for part in FORGOTTEN {
        take_away(document, &format!("evergrant.{part}"));
    }
}
