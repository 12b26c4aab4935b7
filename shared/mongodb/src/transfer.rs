//! Documents in and out, as extended JSON.

use std::collections::VecDeque;

use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use mongodb::bson::{Document, doc};

use super::MongoStore;
use super::errors::{driver, is_cursor_gone};
use super::uncancelled::{DocumentSender, LONG_TIMEOUT, ReaderGone, streamed, uncancelled};
use evergrant_document::import::held_tokens;
use evergrant_document::state::HELD_BEFORE;
use evergrant_document::{extended_json, ids};
use evergrant_ports::{
    HeldTokens, ImportDocument, ImportMode, ImportResult, StoreError, TransferStore,
};

#[async_trait]
impl TransferStore for MongoStore {
    async fn import_as(
        &self,
        documents: Vec<ImportDocument>,
        mode: ImportMode,
    ) -> Result<Vec<ImportResult>, StoreError> {
        let this = self.clone();
        uncancelled(
            "import",
            LONG_TIMEOUT,
            async move { this.import_documents(documents, mode).await },
        )
        .await
    }

    fn export(&self) -> BoxStream<'_, Result<serde_json::Value, StoreError>> {
        let this = self.clone();
        streamed(|sender| async move {
            this.send_each("export", doc! {}, extended_json::of_document, sender).await
        })
    }

    fn held_tokens(&self) -> BoxStream<'_, Result<HeldTokens, StoreError>> {
        let this = self.clone();
        streamed(|sender| async move {
            let projection =
                doc! { &this.names.fields.refresh_token: 1, this.names.path(HELD_BEFORE): 1 };
            let held = |document: Document| held_tokens(&this.names, &document);
            this.send_each("held_tokens", projection, held, sender).await
        })
    }
}

impl MongoStore {
    /// Sends what is made of each document, in the order of their `_id`. When a cursor is gone because
    /// whoever takes is slow, another one goes on after the last document.
    async fn send_each<T>(
        &self,
        operation: &'static str,
        projection: Document,
        made: impl Fn(Document) -> T,
        sender: DocumentSender<T>,
    ) -> Result<(), ReaderGone> {
        let mut stretches = VecDeque::from([doc! {}]);
        while let Some(stretch) = stretches.pop_front() {
            let mut last = None;
            let found = self.collection.find(stretch).projection(projection.clone());
            let mut cursor = match found.sort(doc! { "_id": 1 }).await {
                Ok(cursor) => cursor,
                Err(error) => return sender.send(Err(driver(operation, &error))).await,
            };
            loop {
                match (cursor.try_next().await, &last) {
                    (Ok(None), _) => break,
                    (Ok(Some(document)), _) => {
                        last = document.get("_id").map(ids::from_bson);
                        sender.send(Ok(made(document))).await?;
                    }
                    (Err(error), Some(last)) if is_cursor_gone(&error) => {
                        stretches = ids::after(last).into();
                        break;
                    }
                    (Err(error), _) => return sender.send(Err(driver(operation, &error))).await,
                }
            }
        }
        Ok(())
    }
}
