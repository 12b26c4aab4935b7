//! Which document a refresh token was exchanged for first; see [`crate::domain::twins`].

use std::collections::HashMap;

use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind};

use super::errors::driver;
use super::{MongoStore, decode, ids, primary_options};
use crate::domain::twins::FirstUse;
use crate::domain::{DocumentId, Row};
use crate::ports::StoreError;

/// The collection: a document for each token, under its provider and fingerprint.
const FIRST_TOKENS: &str = "evergrant_first_tokens";
/// A document with this `_id` exists already.
const DUPLICATE_KEY: i32 = 11_000;

/// A document that is about to be exchanged for the first time.
struct New {
    id: DocumentId,
    first_use: FirstUse,
    /// What its token is noted under.
    key: String,
}

impl MongoStore {
    /// Notes the tokens that are exchanged for the first time. The rows of documents whose token another
    /// one had first become twins.
    pub(super) async fn note_first_uses(
        &self,
        rows: &mut HashMap<DocumentId, Row>,
    ) -> Result<(), StoreError> {
        let collection = self.collection.name();
        let new = rows.iter().filter_map(|(id, row)| {
            let first_use = row.first_use()?;
            let key = format!("{collection}/{}", first_use.key());
            Some(New { id: id.clone(), first_use, key })
        });
        let new: Vec<_> = new.collect();
        if new.is_empty() {
            return Ok(());
        }
        let noted = self.note(&new).await?;
        for New { id, first_use, key } in new {
            let Some(first) = noted.get(&key).filter(|first| **first != id) else { continue };
            if self.keeps(first, &first_use).await? || !self.hand_over(&key, first, &id).await? {
                rows.insert(id, first_use.twin_of(first.clone()));
            }
        }
        Ok(())
    }

    /// Notes what is not noted yet. Returns what was noted before, which may be for the same documents.
    async fn note(&self, new: &[New]) -> Result<HashMap<String, DocumentId>, StoreError> {
        let failed = |error| driver("claim", &error);
        let note = |new: &New| Some(doc! { "_id": &new.key, "document": ids::to_bson(&new.id)? });
        let notes: Vec<_> = new.iter().filter_map(note).collect();
        match self.first_tokens().insert_many(notes).ordered(false).await {
            Ok(_) => return Ok(HashMap::new()),
            Err(error) if is_noted_before(&error) => {}
            Err(error) => return Err(failed(error)),
        }
        let keys: Vec<_> = new.iter().map(|new| &new.key).collect();
        let found = self.first_tokens().find(doc! { "_id": { "$in": keys } }).await;
        let found: Vec<_> = found.map_err(failed)?.try_collect().await.map_err(failed)?;
        let noted = found.iter().filter_map(|note| {
            let key = note.get_str("_id").ok()?.to_owned();
            Some((key, ids::from_bson(note.get("document")?)))
        });
        Ok(noted.collect())
    }

    /// Whether the document that had the token first keeps it to itself.
    async fn keeps(&self, first: &DocumentId, first_use: &FirstUse) -> Result<bool, StoreError> {
        let Some(id) = ids::to_bson(first) else { return Ok(false) };
        let wanted = doc! { &self.names.state: 1, &self.names.fields.refresh_token: 1 };
        let found = self.collection.find_one(doc! { "_id": id }).projection(wanted).await;
        let found = found.map_err(|error| driver("claim", &error))?;
        Ok(found.is_some_and(|document| {
            decode::first_holder(&self.names, &document).keeps(&first_use.fingerprint)
        }))
    }

    /// Notes a token for another document. False if somebody else was faster.
    async fn hand_over(
        &self,
        key: &str,
        from: &DocumentId,
        to: &DocumentId,
    ) -> Result<bool, StoreError> {
        let (from, to) = (ids::to_bson(from), ids::to_bson(to));
        let noted = doc! { "_id": key, "document": from.unwrap_or(Bson::Null) };
        let change = doc! { "$set": { "document": to.unwrap_or(Bson::Null) } };
        let changed = self.first_tokens().update_one(noted, change).await;
        Ok(changed.map_err(|error| driver("claim", &error))?.matched_count == 1)
    }

    fn first_tokens(&self) -> Collection<Document> {
        self.database.collection_with_options(FIRST_TOKENS, primary_options())
    }
}

/// Whether all that kept an insertion from being complete is that some was there before.
fn is_noted_before(error: &Error) -> bool {
    let ErrorKind::InsertMany(failure) = error.kind.as_ref() else { return false };
    let mut errors = failure.write_errors.iter().flatten();
    failure.write_concern_error.is_none()
        && failure.write_errors.is_some()
        && errors.all(|error| error.code == DUPLICATE_KEY)
}
