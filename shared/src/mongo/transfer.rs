//! Documents in and out, as extended JSON.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

use super::change::HELD_BEFORE;
use super::detached::{Gone, Sender};
use super::errors::{driver, is_cursor_gone};
use super::import::held_tokens;
use super::{MongoStore, extended_json, ids};
use crate::ports::{HeldTokens, ImportDocument};

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

/// The `_id` of a document to import, and its other fields.
pub(crate) fn id_and_fields(document: ImportDocument) -> Result<(Bson, Document), &'static str> {
    // The reasons of the conversion quote the document.
    let document = match Bson::try_from(serde_json::Value::Object(document.0)) {
        Ok(Bson::Document(document)) => document,
        Ok(_) => return Err("it is a value in extended JSON, not a document"),
        Err(_) => return Err("it is not valid as MongoDB's extended JSON"),
    };
    let mut fields: Document = document;
    let id = fields.remove("_id").ok_or("it has no _id")?;
    if !ids::can_be_id(&id) {
        return Err("its _id is of a type that no _id can have");
    }
    Ok((id, fields))
}
