//! Documents in and out, as extended JSON.

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

use super::detached::{Gone, Sender};
use super::errors::{driver, refused};
use super::update::{JOURNALLED, Statement, batches};
use super::{MongoStore, extended_json, ids};
use crate::ports::{ImportCount, ImportDocument, StoreError};

impl MongoStore {
    /// Imports all of `documents`, or none if one of them cannot be a document.
    pub(super) async fn import_documents(
        &self,
        documents: Vec<ImportDocument>,
    ) -> Result<ImportCount, StoreError> {
        let statements = documents.into_iter().enumerate().map(|(index, document)| {
            import_statement(document).map_err(|what| {
                let reason = format!("document {} of those to import: {what}", index + 1);
                refused("import", reason)
            })
        });
        let statements = statements.collect::<Result<Vec<_>, _>>()?;
        let mut count = ImportCount::default();
        for batch in batches(statements) {
            let updated = self.update("import", batch, JOURNALLED).await?;
            count.inserted += updated.inserted;
            count.updated += updated.matched - updated.inserted.min(updated.matched);
        }
        Ok(count)
    }

    pub(super) async fn send_documents(
        &self,
        sender: Sender<serde_json::Value>,
    ) -> Result<(), Gone> {
        let mut cursor = match self.collection.find(doc! {}).sort(doc! { "_id": 1 }).await {
            Ok(cursor) => cursor,
            Err(error) => return sender.send(Err(driver("export", &error))).await,
        };
        loop {
            match cursor.try_next().await {
                Ok(Some(document)) => {
                    sender.send(Ok(extended_json::of_document(document))).await?;
                }
                Ok(None) => return Ok(()),
                Err(error) => return sender.send(Err(driver("export", &error))).await,
            }
        }
    }
}

/// An update that inserts a document or lays its fields over the one that is there.
///
/// A pipeline, because a classic `$set` puts new fields in alphabetical order and takes a dot in a
/// name for a path. The document is a literal, so that nothing in it is an expression.
fn import_statement(document: ImportDocument) -> Result<Statement, &'static str> {
    let (id, fields) = id_and_fields(document)?;
    let lay_over = doc! { "$replaceWith": { "$mergeObjects": ["$$ROOT", { "$literal": fields }] } };
    Statement::new(doc! { "_id": id }, vec![lay_over], true)
        .ok_or("the name of one of its fields cannot be written as BSON")
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
