//! API keys of the gateway, each a document of its own.

use async_trait::async_trait;
use mongodb::bson::{Document, doc};

use super::MongoStore;
use super::coordinate::is_duplicate;
use super::errors::driver;
use super::records::{all, json, read};
use super::uncancelled::{SHORT_TIMEOUT, uncancelled};
use super::update::{HINT, JOURNALLED};
use evergrant_document::decode::timestamp;
use evergrant_document::document_update::date;
use evergrant_domain::api_key::ApiKey;
use evergrant_ports::{KeyRecord, KeyStore, StoreError};

const KEYS: &str = "evergrant_keys";

#[async_trait]
impl KeyStore for MongoStore {
    async fn api_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        const OPERATION: &str = "api_keys";
        let this = self.clone();
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let found = this.records(KEYS).find(doc! {}).sort(doc! { "_id": 1 }).await;
            let found = all(found).await.map_err(|error| driver(OPERATION, &error))?;
            // One that cannot be read opens nothing, and keeps no other from being read.
            let record = |document: &Document| {
                let key = read(OPERATION, document, "key");
                let key = key.inspect_err(|error| tracing::warn!(%error, "a key is left out"));
                let last_used_at = document.get_datetime("used_at").ok().copied().map(timestamp);
                Some(KeyRecord { key: key.ok()?, last_used_at })
            };
            Ok(found.iter().filter_map(record).collect())
        })
        .await
    }

    async fn add_api_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        const OPERATION: &str = "add_api_key";
        let (this, key) = (self.clone(), key.clone());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let keys = this.records(KEYS);
            let added = keys.insert_one(doc! { "_id": &key.name, "key": json(OPERATION, &key)? });
            match added.write_concern(JOURNALLED.concern()).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate(&error) => Ok(false),
                Err(error) => Err(driver(OPERATION, &error)),
            }
        })
        .await
    }

    async fn change_api_key(&self, before: &ApiKey, key: &ApiKey) -> Result<bool, StoreError> {
        const OPERATION: &str = "change_api_key";
        let (this, before, key) = (self.clone(), before.clone(), key.clone());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let unchanged = doc! { "_id": &before.name, "key": json(OPERATION, &before)? };
            let set = doc! { "$set": { "key": json(OPERATION, &key)? } };
            let keys = this.records(KEYS);
            let written = keys.update_one(unchanged, set);
            let written = written.write_concern(JOURNALLED.concern()).await;
            written
                .map(|written| written.matched_count > 0)
                .map_err(|error| driver(OPERATION, &error))
        })
        .await
    }

    async fn remove_api_key(&self, name: &str) -> Result<bool, StoreError> {
        const OPERATION: &str = "remove_api_key";
        let (this, name) = (self.clone(), name.to_owned());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let keys = this.records(KEYS);
            let removed = keys.delete_one(doc! { "_id": name });
            let removed = removed.write_concern(JOURNALLED.concern()).await;
            removed
                .map(|removed| removed.deleted_count > 0)
                .map_err(|error| driver(OPERATION, &error))
        })
        .await
    }

    async fn note_key_use(&self, name: &str) -> Result<(), StoreError> {
        const OPERATION: &str = "note_key_use";
        let (this, name) = (self.clone(), name.to_owned());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let (now, _) = this.estimated_now(OPERATION).await?;
            let set = doc! { "$set": { "used_at": date(now) } };
            let keys = this.records(KEYS);
            let noted = keys.update_one(doc! { "_id": name }, set);
            let noted = noted.write_concern(HINT.concern()).await;
            noted.map(drop).map_err(|error| driver(OPERATION, &error))
        })
        .await
    }
}
