//! API keys of the gateway.

use async_trait::async_trait;

use crate::{StoreClock, StoreError};
use evergrant_domain::Timestamp;
use evergrant_domain::api_key::ApiKey;

/// The keys with which callers come to the gateway. They are few, so they are read all at once.
#[async_trait]
pub trait KeyStore: StoreClock {
    /// All keys that can be read, by name.
    async fn api_keys(&self) -> Result<Vec<KeyRecord>, StoreError>;

    /// Adds a key. False if there is one of its name.
    async fn add_api_key(&self, key: &ApiKey) -> Result<bool, StoreError>;

    /// Writes a key in place of `before`, which has the same name. False if it has changed since it was read,
    /// or is gone.
    async fn change_api_key(&self, before: &ApiKey, key: &ApiKey) -> Result<bool, StoreError>;

    /// Removes a key. False if there is none of this name.
    async fn remove_api_key(&self, name: &str) -> Result<bool, StoreError>;

    /// Notes that a key is in use now. Nothing for a key that is gone.
    async fn note_key_use(&self, name: &str) -> Result<(), StoreError>;
}

/// A key, and when it was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key.
    pub key: ApiKey,
    /// When it was used last, to the minute.
    pub last_used_at: Option<Timestamp>,
}
