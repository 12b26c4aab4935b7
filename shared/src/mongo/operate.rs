//! What operators see of grants, and what they do with one.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use super::clock::from_now;
use super::detached::{Gone, Sender};
use super::due::user_ids;
use super::errors::driver;
use super::{MongoStore, decode, ids};
use crate::domain::{DocumentId, Status};
use crate::ports::{DueGrant, GrantFilter, GrantView, StoreError};

impl MongoStore {
    pub(super) async fn send_views(
        &self,
        filter: GrantFilter,
        sender: Sender<GrantView>,
    ) -> Result<(), Gone> {
        let limit = filter.limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
        if limit == Some(0) {
            // To the server, no limit.
            return Ok(());
        }
        let mut find = self
            .collection
            .find(self.view_filter(&filter))
            .sort(doc! { "_id": 1 })
            .projection(self.view_projection());
        if let Some(limit) = limit {
            find = find.limit(limit);
        }
        let mut cursor = match find.await {
            Ok(cursor) => cursor,
            Err(error) => return sender.send(Err(driver("list", &error))).await,
        };
        loop {
            match cursor.try_next().await {
                Ok(Some(document)) => {
                    sender.send(Ok(decode::view(&self.names, &document))).await?;
                }
                Ok(None) => return Ok(()),
                Err(error) => return sender.send(Err(driver("list", &error))).await,
            }
        }
    }

    fn view_filter(&self, wanted: &GrantFilter) -> Document {
        let mut filter = Document::new();
        if let Some(provider) = &wanted.provider {
            filter.insert(self.names.path("provider"), provider.as_str());
        }
        if let Some(status) = wanted.status {
            filter.insert(self.names.path("status"), status.as_str());
        }
        if let Some(user) = &wanted.user {
            filter.insert(&self.names.fields.user_id, doc! { "$in": user_ids(user) });
        }
        if let Some(email) = &wanted.email {
            filter.insert(&self.names.fields.email, email);
        }
        filter
    }

    /// Everything but the tokens: they don't even travel.
    fn view_projection(&self) -> Document {
        let fields = &self.names.fields;
        doc! { &self.names.state: 1, &fields.user_id: 1, &fields.email: 1 }
    }

    pub(super) async fn view(&self, id: &DocumentId) -> Result<Option<GrantView>, StoreError> {
        let document = self.read_one("get", id, self.view_projection()).await?;
        Ok(document.map(|document| decode::view(&self.names, &document)))
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
        let forgotten = ["in_doubt", "failing_since", "last_error", "dead_fingerprint"];
        let forgotten = doc! { "$unset": forgotten.map(|part| self.names.path(part)).as_slice() };
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
