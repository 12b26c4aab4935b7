//! Grants that were given up and live again.

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use secrecy::SecretString;

use super::MongoStore;
use super::change::FORGOTTEN;
use super::change::date;
use super::errors::driver;
use super::names::at;
use super::update::{DURABLE, Statement, batches};
use crate::domain::grant::fingerprint;
use crate::domain::{ProviderId, Status, Timestamp};
use crate::ports::StoreError;

/// Documents that are made active in one command.
const BATCH: usize = 500;

impl MongoStore {
    /// Reads every grant that needs sign-in, since the server cannot compare fingerprints, and
    /// makes active those whose token is another than the one that died.
    pub(super) async fn revive_where_signed_in(&self) -> Result<u64, StoreError> {
        let dead = doc! { self.names.path("status"): Status::NeedsReauth.as_str() };
        self.revive_where("revive_signed_in", dead, |died_of, token| died_of != fingerprint(token))
            .await
    }

    pub(super) async fn revive_where_dead(
        &self,
        provider: &ProviderId,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let dead = doc! {
            self.names.path("status"): Status::NeedsReauth.as_str(),
            self.names.path("provider"): provider.as_str(),
            self.names.path("last_error.at"): { "$gte": date(since) },
        };
        self.revive_where("revive_dead", dead, |died_of, token| died_of == fingerprint(token)).await
    }

    async fn revive_where(
        &self,
        operation: &'static str,
        dead: Document,
        lives: impl Fn(&str, &SecretString) -> bool,
    ) -> Result<u64, StoreError> {
        let (died_of, token) =
            (self.names.path("dead_fingerprint"), &self.names.fields.refresh_token);
        let failed = |error| driver(operation, &error);
        let found = self.collection.find(dead).projection(doc! { &died_of: 1, token: 1 });
        let mut found = found.await.map_err(failed)?;
        let (mut revived, mut batch) = (0, Vec::new());
        while let Some(document) = found.try_next().await.map_err(failed)? {
            let known = at(&document, &died_of).and_then(Bson::as_str);
            let held = at(&document, token).and_then(Bson::as_str);
            let (Some(known), Some(held)) = (known, held.filter(|token| !token.is_empty())) else {
                continue;
            };
            if lives(known, &SecretString::from(held)) {
                batch.extend(self.revival(&document, held));
            }
            if batch.len() == BATCH {
                revived += self.revive_all(operation, std::mem::take(&mut batch)).await?;
            }
        }
        Ok(revived + self.revive_all(operation, batch).await?)
    }

    /// Makes a document active if it is still as it was read.
    fn revival(&self, document: &Document, token: &str) -> Option<Statement> {
        let unchanged = doc! {
            "_id": document.get("_id")?,
            self.names.path("status"): Status::NeedsReauth.as_str(),
            &self.names.fields.refresh_token: token,
        };
        let active = doc! { "$set": {
            self.names.path("status"): Status::Active.as_str(),
            self.names.path("attempts"): 0,
            self.names.path("next_refresh_at"): "$$NOW",
        } };
        let forgotten: Vec<_> =
            FORGOTTEN.iter().chain(&["queued_until"]).map(|part| self.names.path(part)).collect();
        let forgotten = doc! { "$unset": forgotten };
        Statement::new(unchanged, vec![active, forgotten], false)
    }

    async fn revive_all(
        &self,
        operation: &'static str,
        statements: Vec<Statement>,
    ) -> Result<u64, StoreError> {
        let mut revived = 0;
        for batch in batches(statements) {
            revived += self.update(operation, batch, DURABLE).await?.matched;
        }
        Ok(revived)
    }
}
