//! What operators see of one grant, and how it comes back.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use super::change::{FORGOTTEN, holds_token, withheld};
use super::clock::from_now;
use super::errors::driver;
use super::names::at;
use super::update::{JOURNALLED, Statement};
use super::{MongoStore, decode, ids};
use crate::domain::{DocumentId, LastError, Status};
use crate::ports::{DueGrant, GrantView, StoreError};

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
        let projection = doc! { token: 1, self.names.path("status"): 1 };
        let found = self.read_one(OPERATION, id, projection).await?;
        let found = found.filter(|found| holds_token(&self.names, found, spent));
        let Some(found) = found else { return Ok(false) };
        let unchanged = doc! {
            "_id": found.get("_id"),
            token: at(&found, token),
            self.names.path("status"): { "$exists": true },
        };
        let change = withheld(&self.names, spent, last_error);
        let statements = Statement::new(unchanged, change, false).into_iter().collect();
        Ok(self.update(OPERATION, statements, JOURNALLED).await?.matched > 0)
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

    /// Makes a grant active that needs sign-in or failed. One that is paused is left alone: only
    /// who paused it should wake it.
    pub(super) async fn revive(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError> {
        let Some(bson) = ids::to_bson(id) else { return Ok(None) };
        let ended = doc! {
            "_id": bson,
            self.names.path("status"):
                { "$in": [Status::NeedsReauth.as_str(), Status::Failed.as_str()] },
        };
        let revived = doc! { "$set": {
            self.names.path("status"): Status::Active.as_str(),
            self.names.path("attempts"): 0,
            self.names.path("next_refresh_at"): "$$NOW",
            self.names.path("queued_until"): from_now(queued),
        } };
        let forgotten = doc! { "$unset": FORGOTTEN.map(|part| self.names.path(part)).as_slice() };
        let projection = doc! { &self.names.state: 1 };
        let document = self
            .collection
            .find_one_and_update(ended, vec![revived, forgotten])
            .projection(projection.clone())
            .return_document(ReturnDocument::After)
            .await
            .map_err(|error| driver("reactivate", &error))?;
        let document = match document {
            Some(document) => document,
            None => match self.read_one("reactivate", id, projection).await? {
                Some(document) => document,
                None => return Ok(None),
            },
        };
        Ok(self.active_grant(&document))
    }

    fn active_grant(&self, document: &Document) -> Option<DueGrant> {
        let view = decode::view(&self.names, document);
        if view.status != Some(Status::Active) {
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
