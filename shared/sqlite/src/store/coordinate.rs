//! What processes agree on: who leads, and what is known of each provider.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

use super::super::failure::Failure;
use super::SqliteStore;
use super::lease::now;
use evergrant_domain::{ProviderId, ProviderState};
use evergrant_ports::{LeaderElection, ProviderStates, StoreError, VersionedValue};

#[async_trait]
impl LeaderElection for SqliteStore {
    async fn lead(&self, role: &str, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        let (role, owner) = (role.to_owned(), owner.to_owned());
        self.write("lead", move |connection, _| {
            let now = now(connection)?;
            let sql = "INSERT INTO leads (role, owner, until_ms) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (role) DO UPDATE SET owner = excluded.owner, \
                       until_ms = excluded.until_ms WHERE owner = excluded.owner OR until_ms <= ?4";
            let values = params![role, owner, now.plus(lease).unix_ms(), now.unix_ms()];
            Ok(connection.prepare_cached(sql)?.execute(values)? == 1)
        })
        .await
    }

    async fn resign(&self, role: &str, owner: &str) -> Result<(), StoreError> {
        let (role, owner) = (role.to_owned(), owner.to_owned());
        self.write("resign", move |connection, _| {
            let sql = "DELETE FROM leads WHERE role = ?1 AND owner = ?2";
            connection.prepare_cached(sql)?.execute([role, owner])?;
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl ProviderStates for SqliteStore {
    async fn provider_state(
        &self,
        provider: &ProviderId,
    ) -> Result<VersionedValue<ProviderState>, StoreError> {
        let provider = provider.clone();
        self.read("provider_state", move |connection, _| {
            let now = now(connection)?;
            let sql = "SELECT version, state FROM providers WHERE id = ?1";
            let mut select = connection.prepare_cached(sql)?;
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
            let Some((version, state)) = select.query_row([provider.as_str()], row).optional()? else {
                return Ok(VersionedValue { value: ProviderState::default(), version: 0, now, now_error: None });
            };
            let value = serde_json::from_str(&state).map_err(|_| {
                Failure::refused(format!(
                    "what it knows of the provider {provider} cannot be read: was it written by a later \
                     release? Upgrade this one"
                ))
            })?;
            Ok(VersionedValue {
                value,
                version: u64::try_from(version).unwrap_or_default(),
                now,
                now_error: None,
            })
        })
        .await
    }

    async fn set_provider_state(
        &self,
        provider: &ProviderId,
        version: u64,
        state: &ProviderState,
    ) -> Result<bool, StoreError> {
        let (provider, state) = (provider.clone(), state.clone());
        self.write("set_provider_state", move |connection, _| {
            let state = serde_json::to_string(&state)
                .map_err(|_| Failure::refused("what is known of a provider cannot be written"))?;
            let version = i64::try_from(version).unwrap_or(i64::MAX);
            let sql = match version {
                0 => "INSERT OR IGNORE INTO providers (id, version, state) VALUES (?1, ?2 + 1, ?3)",
                _ => "UPDATE providers SET version = ?2 + 1, state = ?3 WHERE id = ?1 AND version = ?2",
            };
            let values = params![provider.as_str(), version, state];
            Ok(connection.prepare_cached(sql)?.execute(values)? == 1)
        })
        .await
    }
}
