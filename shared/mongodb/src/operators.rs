//! Grants as operators see and change them; see `listing` and `operate` for what is more than one call.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use mongodb::bson::{Document, doc};

use super::MongoStore;
use super::errors::driver;
use super::uncancelled::{LONG_TIMEOUT, SHORT_TIMEOUT, streamed, uncancelled};
use evergrant_document::numbers::number;
use evergrant_document::{decode, ids};
use evergrant_domain::{DocumentId, GrantStatus, ProviderId};
use evergrant_ports::{
    ChangeResult, DueGrant, DueQuery, DueSelection, GrantAdmin, GrantChange, GrantCount,
    GrantFilter, GrantView, StoreError,
};

#[async_trait]
impl GrantAdmin for MongoStore {
    fn list(&self, filter: GrantFilter) -> BoxStream<'_, Result<GrantView, StoreError>> {
        let this = self.clone();
        streamed(|sender| async move { this.send_views(filter, sender).await })
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<GrantView>, StoreError> {
        let (this, id) = (self.clone(), id.clone());
        uncancelled("get", SHORT_TIMEOUT, async move { this.view(&id).await }).await
    }

    async fn statuses(&self, ids: &[DocumentId]) -> Result<Vec<Option<GrantStatus>>, StoreError> {
        let (this, ids) = (self.clone(), ids.to_vec());
        uncancelled("statuses", SHORT_TIMEOUT, async move {
            let failed = |error| driver("statuses", &error);
            let wanted = doc! { "_id": { "$in": ids::all_to_bson(&ids) } };
            let found = this.collection.find(wanted).projection(this.view_projection());
            let mut found = found.await.map_err(failed)?;
            let mut known = HashMap::new();
            while let Some(document) = found.try_next().await.map_err(failed)? {
                let view = decode::view(&this.names, &document);
                known.insert(ids::canonical(&view.id), view.status);
            }
            Ok(ids.iter().map(|id| known.get(&ids::canonical(id)).copied().flatten()).collect())
        })
        .await
    }

    async fn count_grants(&self) -> Result<Vec<GrantCount>, StoreError> {
        let this = self.clone();
        uncancelled("count_grants", LONG_TIMEOUT, async move {
            let failed = |error| driver("count_grants", &error);
            let by = doc! {
                "provider": this.names.value("provider"),
                "status": this.names.value("status"),
            };
            let group = doc! { "$group": { "_id": by, "n": { "$sum": 1 } } };
            let rows = this.collection.aggregate(vec![group]).await.map_err(failed)?;
            let rows: Vec<Document> = rows.try_collect().await.map_err(failed)?;
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
        })
        .await
    }

    async fn count_due(&self, provider: &ProviderId, most: u64) -> Result<u64, StoreError> {
        let (this, provider) = (self.clone(), provider.clone());
        uncancelled("count_due", SHORT_TIMEOUT, async move {
            if most == 0 {
                // To the server, no limit.
                return Ok(0);
            }
            let (now, _) = this.estimated_now("count_due").await?;
            let query = DueQuery { provider, which: DueSelection::Due, from: None };
            let counted = this.collection.count_documents(this.due_filter(&query, now)).limit(most);
            counted.await.map_err(|error| driver("count_due", &error))
        })
        .await
    }

    async fn reactivate(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError> {
        let (this, id) = (self.clone(), id.clone());
        uncancelled("reactivate", SHORT_TIMEOUT, async move { this.revive(&id, queued).await })
            .await
    }

    async fn change_grant(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<ChangeResult, StoreError> {
        let (this, id) = (self.clone(), id.clone());
        uncancelled("change_grant", SHORT_TIMEOUT, async move { this.change(&id, change).await })
            .await
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
