//! Documents in and out, as extended JSON.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::TryStreamExt;
use mongodb::bson::{Document, doc};

use super::MongoStore;
use super::detached::{Gone, Sender};
use super::errors::{driver, is_cursor_gone};
use evergrant_document::import::held_tokens;
use evergrant_document::state::HELD_BEFORE;
use evergrant_document::{extended_json, ids};
use evergrant_ports::HeldTokens;

impl MongoStore {
    pub(super) async fn send_documents(
        &self,
        sender: Sender<serde_json::Value>,
    ) -> Result<(), Gone> {
        self.send_each("export", doc! {}, extended_json::of_document, sender).await
    }

    pub(super) async fn send_held_tokens(&self, sender: Sender<HeldTokens>) -> Result<(), Gone> {
        let projection =
            doc! { &self.names.fields.refresh_token: 1, self.names.path(HELD_BEFORE): 1 };
        let names = Arc::clone(&self.names);
        let held = move |document: Document| held_tokens(&names, &document);
        self.send_each("held_tokens", projection, held, sender).await
    }

    /// Sends what is made of each document, in the order of their `_id`. When a cursor is gone because
    /// whoever takes is slow, another one goes on after the last document.
    async fn send_each<T>(
        &self,
        operation: &'static str,
        projection: Document,
        made: impl Fn(Document) -> T,
        sender: Sender<T>,
    ) -> Result<(), Gone> {
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
