//! Leases: taking, giving back, and the mark that a job is under way.
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
use mongodb::bson::{Bson, Document, doc};

use super::MongoStore;
use super::clock::{from_now, is_after, is_over};
use super::errors::driver;
use super::uncancelled::{LONG_TIMEOUT, SHORT_TIMEOUT, uncancelled};
use super::update::HINT;
use evergrant_document::adoption::ProviderField;
use evergrant_document::document_update::SETTLED_BY;
use evergrant_document::paths::{overlap, remove};
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
        let (this, ids, owner) = (self.clone(), ids.to_vec(), owner.to_owned());
        let release = async move { this.release_leases(&ids, &owner).await };
        uncancelled("release", SHORT_TIMEOUT, release).await
    }

    async fn renew(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let (this, ids, owner) = (self.clone(), ids.to_vec(), owner.to_owned());
        let renew = async move { this.renew_leases(&ids, &owner, lease).await };
        uncancelled("renew", SHORT_TIMEOUT, renew).await
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

/// The types of what is not there, such as a lease that nobody holds.
pub(super) const NOTHING: [&str; 3] = ["missing", "null", "undefined"];

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
        let active = doc! { "_id": { "$in": &wanted }, self.names.path("status"): "active" };
        self.collection
            .update_many(active, vec![self.take(owner, lease)])
            .await
            .map_err(|error| driver("claim", &error))?;
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

    /// The stage of an update that takes the lease where it is free, over, or this claim's already,
    /// and else changes nothing. See `clock` for why that is not the update's condition.
    ///
    /// A first try whose answer was given up may come late, with a clock as old as itself. It neither
    /// shortens the lease that a later try took nor takes one of a document that the claim has settled.
    fn take(&self, owner: &str, lease: Duration) -> Document {
        // Owners are literals, or one that begins with `$` would be the name of a field.
        let owner = doc! { "$literal": owner };
        let own = doc! { "$eq": [self.names.value("lease.owner"), &owner] };
        let until = self.names.value("lease.until");
        let free = doc! { "$or": [&own, is_over(&until)] };
        let settled = doc! { "$eq": [self.names.value(SETTLED_BY), &owner] };
        let free = doc! { "$and": [{ "$not": [settled] }, free] };
        // Another's lease that is still there is over, or it would not be taken: its holder has
        // died, maybe after it sent the token. The claim's own says how an earlier try came by it.
        // See `decode::taken_over`.
        let before = self.names.value("lease.taken_over");
        let nobody = doc! { "$in": [{ "$type": self.names.value("lease") }, NOTHING.as_slice()] };
        let one = doc! { "$eq": [&before, false] };
        let who = doc! { "$cond": [one, self.names.value("lease.owner"), true] };
        let other = doc! { "$cond": [nobody, false, who] };
        let ends_later = doc! { "$and": [&own, is_after(&until, lease)] };
        let until = doc! { "$cond": [ends_later, until, from_now(lease)] };
        let taken_over = doc! { "$cond": [own, before, other] };
        let lease = doc! { "owner": owner, "until": until, "taken_over": taken_over };
        doc! { "$set": {
            self.names.path("lease"): { "$cond": [free, lease, self.names.value("lease")] },
        } }
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
        let others = [&self.names.fields.access_token].into_iter().chain(&self.names.fields.needed);
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
                grant.note = ClaimNote::new(document);
            }
            rows.insert(id, row);
        }
        Ok(rows)
    }

    pub(super) async fn release_leases(
        &self,
        ids: &[DocumentId],
        owner: &str,
    ) -> Result<(), StoreError> {
        let wanted = ids::all_to_bson(ids);
        if wanted.is_empty() {
            return Ok(());
        }
        let held = doc! { "_id": { "$in": wanted }, self.names.path("lease.owner"): owner };
        let give_back = doc! { "$unset": { self.names.path("lease"): "" } };
        let released = self.collection.update_many(held, give_back).await;
        released.map(drop).map_err(|error| driver("release", &error))
    }

    pub(super) async fn renew_leases(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let wanted = ids::all_to_bson(ids);
        if wanted.is_empty() {
            return Ok(());
        }
        let held = doc! { "_id": { "$in": wanted }, self.names.path("lease.owner"): owner };
        let prolong = doc! { "$set": { self.names.path("lease.until"): from_now(lease) } };
        let renewed = self.collection.update_many(held, vec![prolong]).await;
        renewed.map(drop).map_err(|error| driver("renew", &error))
    }

    pub(super) async fn mark(
        &self,
        ids: &[DocumentId],
        duration: Duration,
    ) -> Result<(), StoreError> {
        let wanted = ids::all_to_bson(ids);
        for batch in wanted.chunks(IDS_MAX) {
            // The worker may have been faster than this mark: what it has refreshed or postponed
            // meanwhile has a due time to come, and the mark would hide that.
            let active = doc! { "_id": { "$in": batch }, self.names.path("status"): "active" };
            let due = is_over(&self.names.value("next_refresh_at"));
            let until = self.names.path("queued_until");
            let marked =
                doc! { "$cond": [due, from_now(duration), self.names.value("queued_until")] };
            self.collection
                .update_many(active, vec![doc! { "$set": { until: marked } }])
                .write_concern(HINT.concern())
                .await
                .map_err(|error| driver("mark_queued", &error))?;
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
