//! Which document a refresh token was exchanged for first; see [`evergrant_domain::twins`].

use std::collections::HashMap;

use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};

use super::errors::driver;
use super::update::{DURABLE, Statement};
use super::{MongoStore, primary_options};
use evergrant_document::{decode, ids};
use evergrant_domain::twins::FirstUse;
use evergrant_domain::{ClaimedDocument, DocumentId};
use evergrant_ports::StoreError;

/// The collection: a document for each token, under its provider and fingerprint.
const FIRST_TOKENS: &str = "evergrant_first_tokens";

/// A document that is about to be exchanged for the first time.
struct FirstExchange {
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
        rows: &mut HashMap<DocumentId, ClaimedDocument>,
    ) -> Result<(), StoreError> {
        let collection = self.collection.name();
        let (new, notes): (Vec<_>, Vec<_>) = rows
            .iter()
            .filter_map(|(id, row)| {
                let first_use = row.first_use()?;
                let key = format!("{collection}/{}", first_use.key());
                let note = doc! { "_id": &key, "document": ids::to_bson(id)? };
                let note = Statement::insertion(&note)?;
                Some((FirstExchange { id: id.clone(), first_use, key }, note))
            })
            .unzip();
        if new.is_empty() {
            return Ok(());
        }
        let noted_before = self.insert("claim", FIRST_TOKENS, notes, DURABLE).await?;
        let keys: Vec<_> = noted_before.iter().filter_map(|at| Some(&new.get(*at)?.key)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let noted = self.find_notes(keys).await?;
        for FirstExchange { id, first_use, key } in new {
            let Some(first) = noted.get(&key).filter(|first| **first != id) else { continue };
            if self.keeps(first, &first_use).await? || !self.hand_over(&key, first, &id).await? {
                rows.insert(id, first_use.twin_of(first.clone()));
            }
        }
        Ok(())
    }

    /// The documents that tokens are noted for, by what the tokens are noted under.
    async fn find_notes(
        &self,
        keys: Vec<&String>,
    ) -> Result<HashMap<String, DocumentId>, StoreError> {
        let failed = |error| driver("claim", &error);
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
