//! Grants that have ended and live again.

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

use super::MongoStore;
use super::errors::driver;
use super::update::{DURABLE, Statement, batches};
use evergrant_document::document_update::{FORGOTTEN, OF_A_DEATH, OF_THE_OLD_GRANT, date};
use evergrant_document::paths::at;
use evergrant_document::{decode, ids};
use evergrant_domain::{EndedDocument, GrantStatus, ProviderId, Timestamp};
use evergrant_ports::{StoreError, SweepPlace, SweepResult};

/// Documents that are made active in one command.
const BATCH: usize = 500;

impl MongoStore {
    /// A part of a sweep. The server cannot compare fingerprints, so the documents are read.
    pub(super) async fn sweep(
        &self,
        after: Option<SweepPlace>,
        most: u32,
    ) -> Result<SweepResult, StoreError> {
        let place = after.unwrap_or_else(SweepPlace::beginning);
        let read = self.read_ended(&place, most).await?;
        let last = read.last().map(|document| ids::from_bson(id_of(document)));
        let next = place.next(read.len(), most, last);
        let lives = |document: &&Document| {
            decode::ended(&self.names, document).is_some_and(|ended| ended.lives_again())
        };
        let live: Vec<_> = read.iter().filter(lives).collect();
        let forgotten: Vec<_> = FORGOTTEN.into_iter().chain(OF_THE_OLD_GRANT).collect();
        let statements = live.into_iter().filter_map(|document| self.revival(document, &forgotten));
        let revived = match self.revive_all("revive_signed_in", statements.collect()).await {
            // One that the server refuses is met again in the next sweep, and keeps no other from it.
            Err(StoreError::Refused { reason, .. }) => {
                tracing::warn!(reason, "a grant that lives again could not be made active");
                0
            }
            revived => revived?,
        };
        Ok(SweepResult { revived, next })
    }

    /// At most `most` documents after a place, of its status, in the order of their ids.
    async fn read_ended(&self, place: &SweepPlace, most: u32) -> Result<Vec<Document>, StoreError> {
        let failed = |error| driver("revive_signed_in", &error);
        let of_status = doc! { self.names.path("status"): place.status.as_str() };
        let stretches = match &place.id {
            None => vec![Document::new()],
            Some(id) => ids::after(id),
        };
        let most = most as usize;
        let mut read = Vec::new();
        for stretch in stretches {
            let left = most.saturating_sub(read.len());
            if left == 0 {
                break;
            }
            let wanted = doc! { "$and": [of_status.clone(), stretch] };
            let limit = i64::try_from(left).unwrap_or(i64::MAX);
            let found = self.collection.find(wanted).sort(doc! { "_id": 1 }).limit(limit);
            let found = found.projection(self.ended_projection()).await.map_err(failed)?;
            read.extend(found.try_collect::<Vec<_>>().await.map_err(failed)?);
        }
        Ok(read)
    }

    fn ended_projection(&self) -> Document {
        doc! { &self.names.state: 1, &self.names.fields.refresh_token: 1 }
    }

    pub(super) async fn revive_where_dead(
        &self,
        provider: &ProviderId,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let failed = |error| driver("revive_dead", &error);
        let dead = doc! {
            self.names.path("status"): GrantStatus::NeedsReauth.as_str(),
            self.names.path("provider"): provider.as_str(),
            self.names.path("last_error.at"): { "$gte": date(since) },
        };
        let found = self.collection.find(dead).projection(self.ended_projection());
        let mut found = found.await.map_err(failed)?;
        let (mut revived, mut batch) = (0, Vec::new());
        while let Some(document) = found.try_next().await.map_err(failed)? {
            let ended = decode::ended(&self.names, &document);
            if ended.as_ref().is_some_and(EndedDocument::holds_what_ended) {
                batch.extend(self.revival(&document, &OF_A_DEATH));
            }
            if batch.len() == BATCH {
                revived += self.revive_all("revive_dead", std::mem::take(&mut batch)).await?;
            }
        }
        Ok(revived + self.revive_all("revive_dead", batch).await?)
    }

    /// Makes a document active if it is still as it was read.
    fn revival(&self, document: &Document, forgotten: &[&str]) -> Option<Statement> {
        let (status, token) = (self.names.path("status"), &self.names.fields.refresh_token);
        let unchanged = doc! {
            "_id": id_of(document),
            &status: at(document, &status)?,
            token: at(document, token)?,
        };
        let active = doc! { "$set": {
            status: GrantStatus::Active.as_str(),
            self.names.path("attempts"): 0,
            self.names.path("next_refresh_at"): "$$NOW",
        } };
        let forgotten: Vec<_> = forgotten.iter().map(|part| self.names.path(part)).collect();
        Statement::new(unchanged, vec![active, doc! { "$unset": forgotten }])
    }

    async fn revive_all(
        &self,
        operation: &'static str,
        statements: Vec<Statement>,
    ) -> Result<u64, StoreError> {
        let mut revived = 0;
        for batch in batches(statements) {
            match self.update(operation, batch, DURABLE).await {
                Ok(updated) => revived += updated,
                // Each statement is for itself: the others of the batch took effect.
                Err(error @ StoreError::Refused { .. }) => {
                    tracing::warn!(%error, "a grant that lives again cannot be made active; the others are");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(revived)
    }
}

fn id_of(document: &Document) -> &Bson {
    document.get("_id").unwrap_or(&Bson::Null)
}
