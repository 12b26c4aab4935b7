//! The port of operators; see `records` for what it keeps.

use std::collections::HashMap;

use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

use super::MongoStore;
use super::detached::{LONG, SHORT, detached};
use super::errors::driver;
use evergrant_document::numbers::number;
use evergrant_document::{decode, ids};
use evergrant_domain::audit::{AuditEntry, AuditFilter, Intent, Progress};
use evergrant_domain::heartbeat::Heartbeat;
use evergrant_domain::statistics::{Counts, MinuteCounts};
use evergrant_domain::{DocumentId, ProviderId, Status, Timestamp};
use evergrant_ports::operators::{Changed, GrantChange, GrantCount, OperatorStore};
use evergrant_ports::{DueQuery, StoreError, Which};

#[async_trait]
impl OperatorStore for MongoStore {
    async fn begin_audit(&self, intent: Intent) -> Result<AuditEntry, StoreError> {
        let this = self.clone();
        detached("begin_audit", SHORT, async move { this.insert_audit(intent).await }).await
    }

    async fn tell_audit(&self, id: &str, progress: &Progress) -> Result<(), StoreError> {
        let (this, id, progress) = (self.clone(), id.to_owned(), progress.clone());
        let telling = async move { this.update_audit(&id, &progress).await };
        detached("tell_audit", SHORT, telling).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        let (this, filter) = (self.clone(), filter.clone());
        detached("audit", SHORT, async move { this.find_audit(&filter).await }).await
    }

    async fn audit_chain(&self, number: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let this = self.clone();
        let reading = async move { this.find_audit_chain(number, limit).await };
        detached("audit_chain", SHORT, reading).await
    }

    async fn audit_entry(&self, id: &str) -> Result<Option<AuditEntry>, StoreError> {
        let (this, id) = (self.clone(), id.to_owned());
        detached("audit_entry", SHORT, async move { this.find_audit_entry(&id).await }).await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        let (this, heartbeat) = (self.clone(), heartbeat.clone());
        detached("beat", SHORT, async move { this.note_beat(&heartbeat).await }).await
    }

    async fn end_beat(&self, name: &str) -> Result<(), StoreError> {
        let (this, name) = (self.clone(), name.to_owned());
        detached("end_beat", SHORT, async move { this.remove_beat(&name).await }).await
    }

    async fn processes(&self) -> Result<Vec<Heartbeat>, StoreError> {
        let this = self.clone();
        detached("processes", SHORT, async move { this.find_processes().await }).await
    }

    async fn add_statistics(&self, counts: &[(ProviderId, Counts)]) -> Result<(), StoreError> {
        let (this, counts) = (self.clone(), counts.to_vec());
        let adding = async move { this.note_statistics(&counts).await };
        detached("add_statistics", SHORT, adding).await
    }

    async fn statistics(&self, since: Timestamp) -> Result<Vec<MinuteCounts>, StoreError> {
        let this = self.clone();
        detached("statistics", SHORT, async move { this.find_statistics(since).await }).await
    }

    async fn count_grants(&self) -> Result<Vec<GrantCount>, StoreError> {
        let this = self.clone();
        detached("count_grants", LONG, async move { this.count_by_status().await }).await
    }

    async fn count_due(&self, provider: &ProviderId, most: u64) -> Result<u64, StoreError> {
        let (this, provider) = (self.clone(), provider.clone());
        let counting = async move { this.count_due_of(provider, most).await };
        detached("count_due", SHORT, counting).await
    }

    async fn statuses(&self, ids: &[DocumentId]) -> Result<Vec<Option<Status>>, StoreError> {
        let (this, ids) = (self.clone(), ids.to_vec());
        detached("statuses", SHORT, async move { this.find_statuses(&ids).await }).await
    }

    async fn change_grant(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<Changed, StoreError> {
        let (this, id) = (self.clone(), id.clone());
        let changing = async move { this.change_one(&id, change).await };
        detached("change_grant", SHORT, changing).await
    }
}

impl MongoStore {
    async fn count_by_status(&self) -> Result<Vec<GrantCount>, StoreError> {
        let failed = |error| driver("count_grants", &error);
        let by = doc! {
            "provider": self.names.value("provider"),
            "status": self.names.value("status"),
        };
        let group = doc! { "$group": { "_id": by, "n": { "$sum": 1 } } };
        let rows: Vec<Document> = self
            .collection
            .aggregate(vec![group])
            .await
            .map_err(failed)?
            .try_collect()
            .await
            .map_err(failed)?;
        let mut counts: Vec<_> = rows.iter().map(grant_count).collect();
        counts.sort();
        // Several names that cannot be read are one row.
        counts.dedup_by(|later, first| {
            let same = (&later.provider, later.status) == (&first.provider, first.status);
            if same {
                first.count += later.count;
            }
            same
        });
        Ok(counts)
    }

    async fn count_due_of(&self, provider: ProviderId, most: u64) -> Result<u64, StoreError> {
        if most == 0 {
            // To the server, no limit.
            return Ok(0);
        }
        let (now, _) = self.estimated_now("count_due").await?;
        let query = DueQuery { provider, which: Which::Due, from: None };
        let counted = self.collection.count_documents(self.due_filter(&query, now)).limit(most);
        counted.await.map_err(|error| driver("count_due", &error))
    }

    async fn find_statuses(&self, ids: &[DocumentId]) -> Result<Vec<Option<Status>>, StoreError> {
        let failed = |error| driver("statuses", &error);
        let wanted = doc! { "_id": { "$in": ids::all_to_bson(ids) } };
        let found = self.collection.find(wanted).projection(self.view_projection());
        let mut found = found.await.map_err(failed)?;
        let mut known = HashMap::new();
        while let Some(document) = found.try_next().await.map_err(failed)? {
            let view = decode::view(&self.names, &document);
            known.insert(ids::canonical(&view.id), view.status);
        }
        Ok(ids.iter().map(|id| known.get(&ids::canonical(id)).copied().flatten()).collect())
    }

    async fn change_one(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<Changed, StoreError> {
        const OPERATION: &str = "change_grant";
        let failed = |error| driver(OPERATION, &error);
        let Some(bson) = ids::to_bson(id) else { return Ok(Changed::Absent) };
        let (status, queued) = (self.names.path("status"), self.names.path("queued_until"));
        let (condition, update) = match change {
            GrantChange::Pause => (
                doc! { "_id": bson, &status: Status::Active.as_str() },
                doc! { "$set": { &status: Status::Paused.as_str() } },
            ),
            GrantChange::Resume => (
                doc! { "_id": bson, &status: Status::Paused.as_str() },
                doc! { "$set": { &status: Status::Active.as_str() }, "$unset": { queued: "" } },
            ),
            // Also matches a document in which the path is missing.
            GrantChange::Forget => (
                doc! { "_id": bson, self.names.path("lease"): Bson::Null },
                doc! { "$unset": { &self.names.state: "" } },
            ),
        };
        let updated = self.collection.update_one(condition, update).await.map_err(failed)?;
        if updated.matched_count > 0 {
            return Ok(Changed::Applied);
        }
        Ok(match (self.view(id).await?, change) {
            (None, _) => Changed::Absent,
            (Some(_), GrantChange::Forget) => Changed::UnderWay,
            (Some(view), _) => Changed::NotIn(view.status),
        })
    }
}

fn grant_count(row: &Document) -> GrantCount {
    let by = row.get_document("_id").ok();
    let name = |part| by.and_then(|by| by.get_str(part).ok());
    GrantCount {
        provider: name("provider").and_then(|name| name.parse().ok()),
        status: name("status").and_then(|name| name.parse().ok()),
        count: row
            .get("n")
            .and_then(number)
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or_default(),
    }
}
