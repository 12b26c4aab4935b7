//! The grants that want a job, by one cursor on the due index.

use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use mongodb::bson::{Bson, Document, doc};

use super::MongoStore;
use super::errors::driver;
use super::uncancelled::{
    DocumentSender, LONG_TIMEOUT, ReaderGone, SHORT_TIMEOUT, streamed, uncancelled,
};
use super::update::HINT;
use evergrant_document::document_update::date;
use evergrant_document::{decode, ids, transition};
use evergrant_domain::{DocumentId, Timestamp};
use evergrant_ports::{
    DueGrant, DueQuery, DueSelection, DueStore, StoreError, SweepPlace, SweepResult,
    UnadoptedDocuments,
};

#[async_trait]
impl DueStore for MongoStore {
    async fn adopt(&self) -> Result<u64, StoreError> {
        let this = self.clone();
        uncancelled("adopt", LONG_TIMEOUT, async move { this.adopt_documents().await }).await
    }

    async fn unadopted(&self) -> Result<Vec<UnadoptedDocuments>, StoreError> {
        let this = self.clone();
        uncancelled("unadopted", LONG_TIMEOUT, async move { this.count_unadopted().await }).await
    }

    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>> {
        let this = self.clone();
        streamed(|sender| async move { this.send_due(query, sender).await })
    }

    async fn mark_queued(&self, ids: &[DocumentId], duration: Duration) -> Result<(), StoreError> {
        let (this, ids) = (self.clone(), ids.to_vec());
        let mark = transition::mark_queued(&self.names, duration);
        let marking = async move { this.carry_out_each("mark_queued", &ids, &mark, HINT).await };
        uncancelled("mark_queued", SHORT_TIMEOUT, marking).await
    }

    async fn revive_signed_in(
        &self,
        after: Option<SweepPlace>,
        most: u32,
    ) -> Result<SweepResult, StoreError> {
        let this = self.clone();
        let revive = async move { this.sweep(after, most).await };
        uncancelled("revive_signed_in", LONG_TIMEOUT, revive).await
    }
}

/// Documents in one answer of the server.
const BATCH: u32 = 1_000;
/// How many times in a row a reading resumes without getting on.
const RESUMES_MAX: u32 = 5;
/// The wait before the first resumption; it doubles.
const RESUME_DELAY: Duration = Duration::from_millis(250);

impl MongoStore {
    /// Sends the grants of `query`, soonest due first.
    ///
    /// When the cursor is lost, it reads on from the due time that it has come to. That time's
    /// grants may be sent again, which is harmless. Their ids cannot tell where in them it was: ids
    /// may be of several types, and the server compares only those of one.
    pub(super) async fn send_due(
        &self,
        mut query: DueQuery,
        sender: DocumentSender<DueGrant>,
    ) -> Result<(), ReaderGone> {
        let mut resumes = 0;
        loop {
            let began_at = query.from;
            let error = match self.read_due(&mut query, &sender).await {
                Ok(()) => return Ok(()),
                Err(Stop::Gone) => return Err(ReaderGone),
                Err(Stop::Failed(error)) => error,
            };
            resumes = if query.from > began_at { 0 } else { resumes + 1 };
            // What was refused, or never began, is the caller's to judge.
            let passing = matches!(error, StoreError::Unavailable { .. });
            if !passing || query.from.is_none() || resumes > RESUMES_MAX {
                return sender.send(Err(error)).await;
            }
            tracing::warn!(%error, "reading what is due was interrupted, it resumes");
            tokio::time::sleep(RESUME_DELAY * 2_u32.pow(resumes)).await;
        }
    }

    /// Reads until the end or a failure, and notes in `query` how far it has come.
    async fn read_due(
        &self,
        query: &mut DueQuery,
        sender: &DocumentSender<DueGrant>,
    ) -> Result<(), Stop> {
        let failed = |error| Stop::Failed(driver("due", &error));
        let now = self.server_now("due").await.map_err(Stop::Failed)?;
        let (due_at, generation) =
            (self.names.path("next_refresh_at"), self.names.path("generation"));
        let mut cursor = self
            .collection
            .find(self.due_filter(query, now))
            .sort(doc! { &due_at: 1, "_id": 1 })
            .projection(doc! { &due_at: 1, generation: 1 })
            .batch_size(BATCH)
            .await
            .map_err(failed)?;
        while let Some(document) = cursor.try_next().await.map_err(failed)? {
            let (generation, due_at) = decode::due(&self.names, &document);
            let grant = DueGrant {
                id: ids::from_bson(document.get("_id").unwrap_or(&Bson::Null)),
                provider: query.provider.clone(),
                generation,
                next_refresh_at: due_at.unwrap_or(now),
            };
            sender.send(Ok(grant)).await.map_err(|ReaderGone| Stop::Gone)?;
            query.from = due_at.or(query.from);
        }
        Ok(())
    }

    pub(super) fn due_filter(&self, query: &DueQuery, now: Timestamp) -> Document {
        let due_at = self.names.path("next_refresh_at");
        let mut filter = doc! {
            self.names.path("provider"): query.provider.as_str(),
            self.names.path("status"): "active",
        };
        match &query.which {
            DueSelection::Due => {
                // "Not later" rather than "earlier or now": what is missing or no date is due too,
                // so that a worker looks at it and says what is wrong.
                filter.insert(&due_at, doc! { "$not": { "$gt": date(now) } });
                let queued_until = self.names.path("queued_until");
                filter.insert(queued_until, doc! { "$not": { "$gt": date(now) } });
            }
            DueSelection::All => {}
            DueSelection::User(user) => {
                filter.insert(&self.names.fields.user_id, doc! { "$in": ids::user_ids(user) });
            }
        }
        if let Some(from) = query.from {
            let from = doc! { &due_at: { "$gte": date(from) } };
            filter.insert("$and", vec![from]);
        }
        filter
    }
}

/// Why a reading stopped.
enum Stop {
    Gone,
    Failed(StoreError),
}
