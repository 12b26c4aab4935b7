//! What operators see of one grant, and how it comes back.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use super::MongoStore;
use super::clock::from_now;
use super::errors::driver;
use super::update::{JOURNALLED, Statement};
use evergrant_document::document_update::{DocumentUpdate, OF_AN_END, holds_token};
use evergrant_document::paths::at;
use evergrant_document::{decode, ids};
use evergrant_domain::{DocumentId, GrantStatus, LastError};
use evergrant_ports::{DueGrant, GrantView, StoreError, SweepPlace};

impl MongoStore {
    pub(super) async fn view(&self, id: &DocumentId) -> Result<Option<GrantView>, StoreError> {
        let document = self.read_one("get", id, self.view_projection()).await?;
        Ok(document.map(|document| decode::view(&self.names, &document)))
    }

    /// The token is compared here, since the server cannot compare fingerprints, and once more by the
    /// update: the document may have changed since it was read.
    pub(super) async fn withhold_spent(
        &self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "withhold";
        let token = &self.names.fields.refresh_token;
        let projection = doc! { token: 1, &self.names.state: 1 };
        let found = self.read_one(OPERATION, id, projection).await?;
        let found = found.filter(|found| holds_token(&self.names, found, spent));
        let Some(found) = found else { return Ok(false) };
        let unchanged = doc! {
            "_id": found.get("_id"),
            token: at(&found, token),
            self.names.path("status"): { "$exists": true },
        };
        let change = DocumentUpdate::withheld(&self.names, spent, last_error, &found);
        let statements = Statement::new(unchanged, change.operators()).into_iter().collect();
        Ok(self.update(OPERATION, statements, JOURNALLED).await? > 0)
    }

    async fn read_one(
        &self,
        operation: &'static str,
        id: &DocumentId,
        projection: Document,
    ) -> Result<Option<Document>, StoreError> {
        let Some(id) = ids::to_bson(id) else { return Ok(None) };
        let found = self.collection.find_one(doc! { "_id": id }).projection(projection).await;
        found.map_err(|error| driver(operation, &error))
    }

    /// Makes a grant active that has ended. One that is paused is left alone: only who paused it
    /// should wake it.
    pub(super) async fn revive(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError> {
        let Some(bson) = ids::to_bson(id) else { return Ok(None) };
        let ended = doc! {
            "_id": bson,
            self.names.path("status"):
                { "$in": SweepPlace::ENDED.map(GrantStatus::as_str).as_slice() },
        };
        let revived = doc! { "$set": {
            self.names.path("status"): GrantStatus::Active.as_str(),
            self.names.path("attempts"): 0,
            self.names.path("next_refresh_at"): "$$NOW",
            self.names.path("queued_until"): from_now(queued),
        } };
        let forgotten = doc! { "$unset": OF_AN_END.map(|part| self.names.path(part)).as_slice() };
        // Not by one command that also returns it: a collection that is sharded by another key than
        // `_id` takes that only with the key.
        let revived = self.collection.update_one(ended, vec![revived, forgotten]).await;
        revived.map_err(|error| driver("reactivate", &error))?;
        let document = self.read_one("reactivate", id, doc! { &self.names.state: 1 }).await?;
        Ok(document.and_then(|document| self.active_grant(&document)))
    }

    fn active_grant(&self, document: &Document) -> Option<DueGrant> {
        let view = decode::view(&self.names, document);
        if view.status != Some(GrantStatus::Active) {
            return None;
        }
        Some(DueGrant {
            id: view.id,
            provider: view.provider?,
            generation: view.generation,
            next_refresh_at: view.next_refresh_at.unwrap_or_default(),
        })
    }
}
