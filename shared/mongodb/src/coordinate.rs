//! What replicas agree on: who leads, and what is known of each provider.

use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{Document, deserialize_from_bson, doc, serialize_to_bson};

use super::clock::{from_now, is_over};
use super::errors::{DUPLICATE_KEY, code, driver, refused};
use super::uncancelled::{SHORT_TIMEOUT, uncancelled};
use super::update::HINT;
use super::{MongoStore, primary_options};
use evergrant_domain::{ProviderId, ProviderState};
use evergrant_ports::{LeaderElection, ProviderStates, StoreError, VersionedValue};

#[async_trait]
impl LeaderElection for MongoStore {
    async fn lead(&self, role: &str, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        let (this, role, owner) = (self.clone(), role.to_owned(), owner.to_owned());
        uncancelled("lead", SHORT_TIMEOUT, async move {
            let failed = |error| driver("lead", &error);
            let (meta, id) = (this.meta(), format!("lead-{role}"));
            let vacant = doc! { "$setOnInsert": { "owner": null, "until": null } };
            let made = meta.update_one(doc! { "_id": &id }, vacant).upsert(true).await;
            match made {
                // Two replicas made it at once.
                Err(error) if is_duplicate(&error) => {}
                made => drop(made.map_err(failed)?),
            }
            let mine_or_over =
                doc! { "_id": id, "$or": [{ "owner": &owner }, { "$expr": is_over("$until") }] };
            let take =
                doc! { "$set": { "owner": { "$literal": owner }, "until": from_now(lease) } };
            let taken = meta.update_one(mine_or_over, vec![take]).await.map_err(failed)?;
            Ok(taken.matched_count == 1)
        })
        .await
    }

    async fn resign(&self, role: &str, owner: &str) -> Result<(), StoreError> {
        let (this, role, owner) = (self.clone(), role.to_owned(), owner.to_owned());
        uncancelled("resign", SHORT_TIMEOUT, async move {
            let mine = doc! { "_id": format!("lead-{role}"), "owner": owner };
            let vacate = doc! { "$set": { "owner": null, "until": null } };
            let given_up = this.meta().update_one(mine, vacate).write_concern(HINT.concern()).await;
            given_up.map(drop).map_err(|error| driver("resign", &error))
        })
        .await
    }
}

#[async_trait]
impl ProviderStates for MongoStore {
    async fn provider_state(
        &self,
        provider: &ProviderId,
    ) -> Result<VersionedValue<ProviderState>, StoreError> {
        const OPERATION: &str = "provider_state";
        let (this, provider) = (self.clone(), provider.clone());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let found = this.providers().find_one(doc! { "_id": provider.as_str() }).await;
            let found = found.map_err(|error| {
                this.clock.forget();
                driver(OPERATION, &error)
            })?;
            let (now, error) = this.estimated_now(OPERATION).await?;
            let now_error = Some(error);
            let Some(document) = found else {
                return Ok(VersionedValue { value: ProviderState::default(), version: 0, now, now_error });
            };
            let version = document.get("version").and_then(evergrant_document::numbers::number);
            let version = version.and_then(|version| u64::try_from(version).ok()).unwrap_or_default();
            let state = document.get("state").cloned().unwrap_or_default();
            let value = deserialize_from_bson(state).map_err(|_| {
                let reason = format!(
                    "the document {provider} in {PROVIDERS} cannot be read: was it written by a later \
                     release? Upgrade this one, or delete the document: its pauses are forgotten then"
                );
                refused(OPERATION, reason)
            })?;
            Ok(VersionedValue { value, version, now, now_error })
        })
        .await
    }

    async fn set_provider_state(
        &self,
        provider: &ProviderId,
        version: u64,
        state: &ProviderState,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "set_provider_state";
        let (this, provider, state) = (self.clone(), provider.clone(), state.clone());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let state = serialize_to_bson(&state)
                .map_err(|_| refused(OPERATION, "it cannot be written as BSON"))?;
            let version = i64::try_from(version).unwrap_or(i64::MAX);
            let next = doc! { "version": version.saturating_add(1), "state": state };
            let providers = this.providers();
            if version == 0 {
                let mut first = doc! { "_id": provider.as_str() };
                first.extend(next);
                return match providers.insert_one(first).await {
                    Ok(_) => Ok(true),
                    Err(error) if is_duplicate(&error) => Ok(false),
                    Err(error) => Err(driver(OPERATION, &error)),
                };
            }
            let unchanged = doc! { "_id": provider.as_str(), "version": version };
            let replaced = providers.update_one(unchanged, doc! { "$set": next }).await;
            replaced
                .map(|result| result.matched_count == 1)
                .map_err(|error| driver(OPERATION, &error))
        })
        .await
    }
}

/// Where what is known of each provider is kept, a document each.
const PROVIDERS: &str = "evergrant_providers";

impl MongoStore {
    pub(super) fn providers(&self) -> mongodb::Collection<Document> {
        self.database.collection_with_options(PROVIDERS, primary_options())
    }
}

pub(super) fn is_duplicate(error: &mongodb::error::Error) -> bool {
    code(error) == Some(DUPLICATE_KEY)
}
