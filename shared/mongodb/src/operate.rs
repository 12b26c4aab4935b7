//! What operators see of one grant, and how it comes back.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use super::MongoStore;
use super::errors::driver;
use super::transition::compiled;
use super::update::JOURNALLED;
use evergrant_document::{decode, ids, transition};
use evergrant_domain::{DocumentId, LastError};
use evergrant_ports::{ChangeResult, DueGrant, GrantChange, GrantView, StoreError};

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
        let statement = found.and_then(|found| {
            let withheld = transition::withhold(&self.names, &found, spent, last_error)?;
            compiled(found.get("_id")?.clone(), &withheld)
        });
        match statement {
            Some(statement) => Ok(self.update(OPERATION, vec![statement], JOURNALLED).await? > 0),
            None => Ok(false),
        }
    }

    pub(super) async fn read_one(
        &self,
        operation: &'static str,
        id: &DocumentId,
        projection: Document,
    ) -> Result<Option<Document>, StoreError> {
        let Some(id) = ids::to_bson(id) else { return Ok(None) };
        let found = self.collection.find_one(doc! { "_id": id }).projection(projection).await;
        found.map_err(|error| driver(operation, &error))
    }

    /// Makes a grant active that has ended.
    pub(super) async fn revive(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError> {
        const OPERATION: &str = "reactivate";
        let Some(bson) = ids::to_bson(id) else { return Ok(None) };
        // Not by one command that also returns it: a collection that is sharded by another key than
        // `_id` takes that only with the key.
        let revival = transition::reactivate(&self.names, queued);
        self.carry_out_one(OPERATION, bson, &revival).await?;
        let document = self.read_one(OPERATION, id, doc! { &self.names.state: 1 }).await?;
        Ok(document.and_then(|document| decode::active_grant(&self.names, &document)))
    }

    /// Does something to one grant.
    pub(super) async fn change(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<ChangeResult, StoreError> {
        let Some(bson) = ids::to_bson(id) else { return Ok(ChangeResult::Absent) };
        let changed = transition::change(&self.names, change);
        if self.carry_out_one("change_grant", bson, &changed).await? {
            return Ok(ChangeResult::Applied);
        }
        let found = self.view(id).await?;
        Ok(found.map_or(ChangeResult::Absent, |it| transition::why_unchanged(change, it.status)))
    }
}
