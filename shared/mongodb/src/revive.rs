//! Grants that have ended and live again.

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

use super::MongoStore;
use super::errors::driver;
use super::transition::compiled;
use super::update::{DURABLE, Statement, batches};
use evergrant_document::document_update::date;
use evergrant_document::{ids, transition};
use evergrant_domain::{GrantStatus, ProviderId, Timestamp};
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
        let statements = read.iter().filter_map(|document| {
            let revival = transition::revive_signed_in(&self.names, document)?;
            compiled(id_of(document).clone(), &revival)
        });
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
            let revival = transition::revive_disbelieved(&self.names, &document, provider, since);
            batch.extend(revival.and_then(|it| compiled(id_of(&document).clone(), &it)));
            if batch.len() == BATCH {
                revived += self.revive_all("revive_dead", std::mem::take(&mut batch)).await?;
            }
        }
        Ok(revived + self.revive_all("revive_dead", batch).await?)
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
