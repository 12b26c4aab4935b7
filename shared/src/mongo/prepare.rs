//! Indexes.

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use super::MongoStore;
use super::errors::driver;
use crate::ports::StoreError;

impl MongoStore {
    pub(super) async fn prepare_collection(&self) -> Result<(), StoreError> {
        self.check_clock("prepare").await?;
        self.check_commits("prepare").await?;
        self.check_filter().await?;
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
}
