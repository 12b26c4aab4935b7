//! Indexes.

use futures::TryStreamExt;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use super::MongoStore;
use super::errors::{code, driver};
use evergrant_document::numbers::number;
use evergrant_ports::StoreError;

impl MongoStore {
    pub(super) async fn prepare_collection(&self) -> Result<(), StoreError> {
        self.check_clock("prepare").await?;
        self.check_filter().await?;
        let missing = self.missing_indexes("prepare").await?.into_iter().map(|(name, keys)| {
            let options = IndexOptions::builder().name(name.to_owned()).build();
            IndexModel::builder().keys(keys).options(options).build()
        });
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        let created = self.collection.create_indexes(missing).await;
        created.map(drop).map_err(|error| driver("prepare", &error))
    }

    /// Those of [`Self::indexes`] that are not there. An index of the application with the same keys
    /// serves as well, whatever its name.
    pub(super) async fn missing_indexes(
        &self,
        operation: &'static str,
    ) -> Result<Vec<(&'static str, Document)>, StoreError> {
        let there = match self.collection.list_indexes().await {
            Ok(there) => there.try_collect::<Vec<_>>().await,
            Err(error) => Err(error),
        };
        let there = match there {
            // There is no collection yet.
            Err(error) if is_without_collection(&error) => Vec::new(),
            there => there.map_err(|error| driver(operation, &error))?,
        };
        let is_missing = |keys: &Document| !there.iter().any(|index| serves(index, keys));
        Ok(self.indexes().into_iter().filter(|(_, keys)| is_missing(keys)).collect())
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

/// NamespaceNotFound.
fn is_without_collection(error: &mongodb::error::Error) -> bool {
    code(error) == Some(26)
}

/// Whether an index has these keys, and holds all documents in the plain order of their values.
fn serves(index: &IndexModel, keys: &Document) -> bool {
    let is_plain = index.options.as_ref().is_none_or(|options| {
        options.partial_filter_expression.is_none()
            && options.collation.is_none()
            && options.sparse != Some(true)
            && options.hidden != Some(true)
    });
    is_plain && same_keys(&index.keys, keys)
}

/// The same fields in the same order, whatever type the server gives the numbers.
fn same_keys(one: &Document, other: &Document) -> bool {
    let keys = |document: &Document| -> Vec<(String, Option<i64>)> {
        document.iter().map(|(name, order)| (name.clone(), number(order))).collect()
    };
    keys(one) == keys(other)
}

#[cfg(test)]
mod tests {
    use mongodb::options::Collation;

    use super::*;

    #[test]
    fn an_applications_index_serves_if_it_holds_every_document_in_plain_order() {
        let keys = doc! { "userId": 1, "_id": 1 };
        let index = |options| {
            IndexModel::builder()
                .keys(doc! { "userId": 1.0, "_id": 1_i64 })
                .options(options)
                .build()
        };
        let plain = IndexOptions::builder().name("theirs".to_owned()).unique(true).build();
        assert!(serves(&index(plain), &keys));
        assert!(!serves(&index(IndexOptions::builder().build()), &doc! { "_id": 1, "userId": 1 }));
        let collation = Collation::builder().locale("de").build();
        for other in [
            IndexOptions::builder().partial_filter_expression(doc! { "a": 1 }).build(),
            IndexOptions::builder().collation(collation).build(),
            IndexOptions::builder().sparse(true).build(),
            IndexOptions::builder().hidden(true).build(),
        ] {
            assert!(!serves(&index(other), &keys));
        }
    }
}
