//! Commits: one `update` command for each batch, every document conditionally.

use anyhow::{Context, ensure};
use mongodb::Collection;
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::claim::OWNER;
use super::{BATCHES_AT_ONCE, later, per_s, timed};
use crate::seed;

/// A token that a document remembers.
const MARK: i64 = 1 << 51;

/// Writes new tokens to all of `documents`; returns commits a second.
pub(crate) async fn measure(
    client: &mongodb::Client,
    collection: &Collection<Document>,
    documents: &[Document],
    batch: usize,
) -> anyhow::Result<f64> {
    let database = client.database(&collection.namespace().db);
    let of_batch = |batch: &[Document]| {
        let updates = batch.iter().map(update).collect();
        Ok((i32::try_from(batch.len())?, updates))
    };
    let batches = documents.chunks(batch).map(of_batch).collect::<anyhow::Result<Vec<_>>>()?;
    let name = collection.name().to_owned();
    let commit = move |batch| commit(database.clone(), name.clone(), batch);
    Ok(per_s(documents.len(), timed(batches, BATCHES_AT_ONCE, commit).await?))
}

async fn commit(
    database: mongodb::Database,
    collection: String,
    (wanted, updates): (i32, Vec<Document>),
) -> anyhow::Result<()> {
    let command = doc! {
        "update": collection,
        "updates": updates,
        "ordered": false,
        "writeConcern": { "w": "majority", "wtimeout": 10_000, "j": true },
    };
    let reply = database.run_command(command).await.context("commit")?;
    let found = reply.get("n").and_then(Bson::as_i32);
    ensure!(found == Some(wanted), "not all commits found their document as it was");
    Ok(())
}

/// A refresh, as a worker writes it.
fn update(document: &Document) -> Document {
    let hour_ms = 3_600_000;
    let of = |field: &str| document.get(field).cloned().unwrap_or(Bson::Null);
    let of_state = |part: &str| {
        let state = document.get_document("evergrant").ok();
        state.and_then(|state| state.get(part)).cloned().unwrap_or(Bson::Null)
    };
    let as_it_was = doc! {
        "_id": of("_id"),
        "refresh_token": of("refresh_token"),
        "evergrant.generation": seed::ONCE,
        "evergrant.lease.owner": OWNER,
        "evergrant.status": "active",
        "evergrant.provider": of_state("provider"),
    };
    let state = doc! {
        "provider": of_state("provider"),
        "status": "active",
        "settled_by": OWNER,
        "generation": seed::ONCE + 1,
        "attempts": 0,
        "refreshed_at": DateTime::now(),
        "access_expires_at": later(hour_ms),
        "refresh_idle_until": later(336 * hour_ms),
        "next_refresh_at": later(168 * hour_ms),
        "held_before": [MARK, MARK + 1],
    };
    let change = doc! { "$set": {
        "access_token": of("access_token"),
        "refresh_token": of("refresh_token"),
        "evergrant": state,
    } };
    doc! { "q": as_it_was, "u": change, "multi": false }
}
