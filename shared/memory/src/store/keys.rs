//! API keys of the gateway.

use async_trait::async_trait;

use super::MemoryStore;
use evergrant_domain::api_key::ApiKey;
use evergrant_ports::{KeyRecord, KeyStore, StoreError};

#[async_trait]
impl KeyStore for MemoryStore {
    async fn api_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(self.with(|state, _| state.keys.values().cloned().collect()))
    }

    async fn add_api_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        Ok(self.with(|state, _| {
            let is_new = !state.keys.contains_key(&key.name);
            if is_new {
                let record = KeyRecord { key: key.clone(), last_used_at: None };
                state.keys.insert(key.name.clone(), record);
            }
            is_new
        }))
    }

    async fn change_api_key(&self, before: &ApiKey, key: &ApiKey) -> Result<bool, StoreError> {
        Ok(self.with(|state, _| {
            let record = state.keys.get_mut(&before.name).filter(|record| record.key == *before);
            record.map(|record| record.key = key.clone()).is_some()
        }))
    }

    async fn remove_api_key(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.with(|state, _| state.keys.remove(name).is_some()))
    }

    async fn note_key_use(&self, name: &str) -> Result<(), StoreError> {
        self.with(|state, now| {
            if let Some(record) = state.keys.get_mut(name) {
                record.last_used_at = Some(now);
            }
        });
        Ok(())
    }
}
