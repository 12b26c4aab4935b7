//! API keys of the gateway, each a row.

use async_trait::async_trait;
use rusqlite::{Row, params};

use super::SqliteStore;
use super::lease::now;
use super::records::{json, read};
use evergrant_domain::Timestamp;
use evergrant_domain::api_key::ApiKey;
use evergrant_ports::{KeyRecord, KeyStore, StoreError};

#[async_trait]
impl KeyStore for SqliteStore {
    async fn api_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.read("api_keys", move |connection, _| {
            let sql = "SELECT key, used_ms FROM api_keys ORDER BY name";
            let mut select = connection.prepare_cached(sql)?;
            let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?));
            let mut records = Vec::new();
            for found in select.query_map([], row)? {
                let (key, used_ms) = found?;
                // One that cannot be read opens nothing, and keeps no other from being read.
                let Ok(key) = read(&key) else {
                    tracing::warn!("a key cannot be read and is left out: upgrade this release");
                    continue;
                };
                let last_used_at = used_ms.map(Timestamp::from_unix_ms);
                records.push(KeyRecord { key, last_used_at });
            }
            Ok(records)
        })
        .await
    }

    async fn add_api_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        let key = key.clone();
        self.write("add_api_key", move |connection, _| {
            let sql = "INSERT OR IGNORE INTO api_keys (name, key) VALUES (?1, ?2)";
            let values = params![key.name, json(&key)?];
            Ok(connection.prepare_cached(sql)?.execute(values)? > 0)
        })
        .await
    }

    async fn change_api_key(&self, before: &ApiKey, key: &ApiKey) -> Result<bool, StoreError> {
        let (before, key) = (before.clone(), key.clone());
        self.write("change_api_key", move |connection, _| {
            let sql = "UPDATE api_keys SET key = ?3 WHERE name = ?1 AND key = ?2";
            let values = params![before.name, json(&before)?, json(&key)?];
            Ok(connection.prepare_cached(sql)?.execute(values)? > 0)
        })
        .await
    }

    async fn remove_api_key(&self, name: &str) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.write("remove_api_key", move |connection, _| {
            let sql = "DELETE FROM api_keys WHERE name = ?1";
            Ok(connection.prepare_cached(sql)?.execute([name])? > 0)
        })
        .await
    }

    async fn note_key_use(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write("note_key_use", move |connection, _| {
            let sql = "UPDATE api_keys SET used_ms = ?2 WHERE name = ?1";
            connection.prepare_cached(sql)?.execute(params![name, now(connection)?.unix_ms()])?;
            Ok(())
        })
        .await
    }
}
