//! Indexes and adoption.

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use super::MongoStore;
use super::claim::NOTHING;
use super::errors::{driver, refused};
use crate::domain::Status;
use crate::ports::StoreError;

/// Names of providers, as [`crate::domain::ProviderId`] takes them.
const PROVIDER_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";

impl MongoStore {
    pub(super) async fn prepare_collection(&self) -> Result<(), StoreError> {
        self.check_clock("prepare").await?;
        self.check_commits("prepare").await?;
        let indexes = self.indexes().map(|(name, keys)| {
            let options = IndexOptions::builder().name(name.to_owned()).build();
            IndexModel::builder().keys(keys).options(options).build()
        });
        let created = self.collection.create_indexes(indexes).await;
        created.map(drop).map_err(|error| driver("prepare", &error))
    }

    /// The indexes, by their names.
    pub(super) fn indexes(&self) -> [(&'static str, Document); 6] {
        let path = |part| self.names.path(part);
        [
            // What is due, in the order of urgency.
            (
                "evergrant_due",
                doc! { path("provider"): 1, path("status"): 1, path("next_refresh_at"): 1, "_id": 1 },
            ),
            // What dies unless it is exchanged, the first of it first.
            (
                "evergrant_expiry",
                doc! { path("provider"): 1, path("status"): 1, path("refresh_idle_until"): 1, "_id": 1 },
            ),
            // What has ended, and what is not adopted yet (no status at all).
            ("evergrant_status", doc! { path("status"): 1, "_id": 1 }),
            // What operators list and search. A refresh changes nothing in these.
            ("evergrant_provider", doc! { path("provider"): 1, path("status"): 1, "_id": 1 }),
            ("evergrant_user", doc! { &self.names.fields.user_id: 1, "_id": 1 }),
            ("evergrant_email", doc! { &self.names.fields.email: 1, "_id": 1 }),
        ]
    }

    /// Gives the state to documents without one: those that name their provider in the state, those
    /// that name it in the application's field, and the rest, in this order.
    pub(super) async fn adopt_documents(&self) -> Result<u64, StoreError> {
        let provider = self.names.path("provider");
        let valid = doc! { "$regex": PROVIDER_PATTERN };
        let mut adopted = self.adopt_where(doc! { &provider: &valid }, doc! {}).await?;
        if let Some(field) = &self.settings.provider_field {
            let named = doc! { &provider: format!("${field}") };
            adopted += self.adopt_where(doc! { field: &valid }, named).await?;
        }
        if let Some(default) = &self.settings.default_provider {
            // A literal, though a provider's name has no `$`.
            let default = doc! { &provider: { "$literal": default.as_str() } };
            adopted += self.adopt_where(doc! {}, default).await?;
        } else if self.settings.provider_field.is_none() {
            self.refuse_orphans().await?;
        }
        Ok(adopted)
    }

    async fn adopt_where(&self, filter: Document, provider: Document) -> Result<u64, StoreError> {
        let mut filter = filter;
        // Also matches a document in which the path is missing.
        filter.insert(self.names.path("status"), mongodb::bson::Bson::Null);
        let mut state = provider;
        state.insert(self.names.path("status"), self.adopted_as());
        state.insert(self.names.path("generation"), 0_i64);
        state.insert(self.names.path("attempts"), 0);
        state.insert(self.names.path("next_refresh_at"), "$$NOW");
        let adopted = self.collection.update_many(filter, vec![doc! { "$set": state }]).await;
        adopted.map(|result| result.modified_count).map_err(|error| driver("adopt", &error))
    }

    /// An expression: the status of a document that is adopted.
    fn adopted_as(&self) -> Document {
        let token = format!("${}", self.names.fields.refresh_token);
        let missing = doc! { "$in": [{ "$type": &token }, NOTHING.as_slice()] };
        let none = doc! { "$or": [missing, { "$eq": [token, ""] }] };
        doc! { "$cond": [none, Status::NoToken.as_str(), Status::Active.as_str()] }
    }

    /// Nothing says whose tokens the remaining documents hold.
    async fn refuse_orphans(&self) -> Result<(), StoreError> {
        let orphan = doc! { self.names.path("status"): null };
        let found = self.collection.find_one(orphan).projection(doc! { "_id": 1 }).await;
        match found.map_err(|error| driver("adopt", &error))? {
            None => Ok(()),
            Some(_) => Err(refused(
                "adopt",
                "there are documents that name no provider: set store.default_provider, or \
                 store.provider_field if a field of the documents names it",
            )),
        }
    }
}
