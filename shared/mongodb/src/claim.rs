//! Leases, as workers take and give them back.
//!
//! A claim is one update of its documents by `_id`, with a pipeline, since only that knows the server's
//! clock; then one read of the same documents, which tells by `lease.owner` what the claim holds. No
//! count is asked: a document whose lease is another's is written as it was. Both go to the primary, and the
//! update is acknowledged by a majority before the read, so what the read finds of the time before is
//! durable. There is no form that does both in one round trip for several documents: `findAndModify` is
//! for one, and the `bulkWrite` of MongoDB 8.0 returns none.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::bson::{Bson, doc};

use super::MongoStore;
use super::errors::driver;
use super::uncancelled::{LONG_TIMEOUT, SHORT_TIMEOUT, uncancelled};
use super::update::{DURABLE, Durability};
use evergrant_document::adoption::ProviderField;
use evergrant_document::paths::{overlap, remove};
use evergrant_document::transition::{self, DocumentTransition, LeaseEnd};
use evergrant_document::{decode, ids};
use evergrant_domain::{ClaimNote, ClaimedDocument, DocumentId, LastError, ProviderId, Timestamp};
use evergrant_ports::{ClaimResult, Commit, CommitResult, LeaseStore, StoreError};

#[async_trait]
impl LeaseStore for MongoStore {
    async fn claim(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<ClaimResult, StoreError> {
        let (this, ids, owner) = (self.clone(), ids.to_vec(), owner.to_owned());
        let claim = async move { this.claim_documents(&ids, &owner, lease).await };
        uncancelled("claim", SHORT_TIMEOUT, claim).await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitResult>, StoreError> {
        let (this, commits) = (self.clone(), commits.to_vec());
        uncancelled("commit", SHORT_TIMEOUT, async move { this.commit_all(&commits).await }).await
    }

    async fn withhold(
        &self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> Result<bool, StoreError> {
        let (this, id) = (self.clone(), id.clone());
        let (spent, last_error) = (spent.to_owned(), last_error.clone());
        let withholding = async move { this.withhold_spent(&id, &spent, &last_error).await };
        uncancelled("withhold", SHORT_TIMEOUT, withholding).await
    }

    async fn release(&self, ids: &[DocumentId], owner: &str) -> Result<(), StoreError> {
        let (this, ids) = (self.clone(), ids.to_vec());
        let release = transition::release(&self.names, owner);
        let releasing =
            async move { this.carry_out_each("release", &ids, &release, DURABLE).await };
        uncancelled("release", SHORT_TIMEOUT, releasing).await
    }

    async fn renew(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let (this, ids) = (self.clone(), ids.to_vec());
        let renew = transition::renew(&self.names, owner, lease);
        let renewing = async move { this.carry_out_each("renew", &ids, &renew, DURABLE).await };
        uncancelled("renew", SHORT_TIMEOUT, renewing).await
    }

    async fn revive_dead(
        &self,
        provider: &ProviderId,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let (this, provider) = (self.clone(), provider.clone());
        let revive = async move { this.revive_where_dead(&provider, since).await };
        uncancelled("revive_dead", LONG_TIMEOUT, revive).await
    }
}

impl MongoStore {
    pub(super) async fn claim_documents(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<ClaimResult, StoreError> {
        let wanted = ids::all_to_bson(ids);
        if wanted.is_empty() {
            let rows = ids.iter().map(|_| ClaimedDocument::Absent).collect();
            return Ok(ClaimResult { now: self.server_now("claim").await?, rows });
        }
        let claim = transition::claim(&self.names, owner, lease, LeaseEnd::ByClock);
        self.carry_out("claim", &wanted, &claim, DURABLE).await?;
        let mut rows = self.read_rows(wanted, owner).await?;
        let now = match taken_at(rows.values(), lease) {
            Some(now) => now,
            None => self.server_now("claim").await?,
        };
        self.note_first_uses(&mut rows).await?;
        let row = |id| rows.get(&ids::canonical(id)).cloned().unwrap_or(ClaimedDocument::Absent);
        let rows = ids.iter().map(row).collect();
        Ok(ClaimResult { now, rows })
    }

    async fn read_rows(
        &self,
        wanted: Vec<Bson>,
        owner: &str,
    ) -> Result<HashMap<DocumentId, ClaimedDocument>, StoreError> {
        let mut projection = doc! { &self.names.state: 1, &self.names.fields.refresh_token: 1 };
        if let ProviderField::Named(field) = &self.names.rules.provider_field {
            projection.insert(field, 1);
        }
        projection.extend(self.names.expiry_paths().map(|path| (path.clone(), Bson::from(1))));
        // The access token tells whether the application has sealed both.
        let others = [&self.names.fields.access_token].into_iter();
        let others = others.chain(self.names.answer_paths()).chain(&self.names.fields.needed);
        for path in others {
            // A server reads no two paths at once of which one lies within the other.
            if !projection.keys().any(|other| overlap(path, other)) {
                projection.insert(path, 1);
            }
        }
        let failed = |error| driver("claim", &error);
        let found = self.collection.find(doc! { "_id": { "$in": wanted } }).projection(projection);
        let mut found = found.await.map_err(failed)?;
        let mut rows = HashMap::new();
        // One at a time: a document may hold a megabyte where a token belongs.
        while let Some(mut document) = found.try_next().await.map_err(failed)? {
            let id = ids::from_bson(document.get("_id").unwrap_or(&Bson::Null));
            let mut row = decode::row(&self.names, &document, owner);
            if let ClaimedDocument::Present { grant, owned: true, .. } = &mut row {
                remove(&mut document, &self.names.fields.refresh_token);
                remove(&mut document, &self.names.fields.access_token);
                self.names.forget_answer(&mut document);
                grant.note = ClaimNote::new(document);
            }
            rows.insert(id, row);
        }
        Ok(rows)
    }

    /// Carries out a transition of each of these documents.
    pub(super) async fn carry_out_each(
        &self,
        operation: &'static str,
        ids: &[DocumentId],
        transition: &DocumentTransition,
        durability: Durability,
    ) -> Result<(), StoreError> {
        for batch in ids::all_to_bson(ids).chunks(IDS_MAX) {
            self.carry_out(operation, batch, transition, durability).await?;
        }
        Ok(())
    }
}

/// Ids in one command.
const IDS_MAX: usize = 1_000;

/// When this claim's leases were taken, if it holds any: all at one time of the server's clock.
fn taken_at<'a>(
    rows: impl Iterator<Item = &'a ClaimedDocument>,
    duration: Duration,
) -> Option<Timestamp> {
    rows.filter_map(|row| match row {
        ClaimedDocument::Present { lease: Some(lease), owned: true, .. } => {
            Some(lease.until.minus(duration))
        }
        _ => None,
    })
    .max()
}
