//! Commits: one `update` command for each batch, every document on its condition.

use anyhow::{Context, ensure};
use mongodb::Collection;
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::{BATCHES_AT_ONCE, later, per_s, timed};

/// How many documents a worker writes by one update of a command.
const TOGETHER: usize = 32;

/// Writes new tokens to all of `documents`; commits a second.
pub(crate) async fn measure(
    client: &mongodb::Client,
    collection: &Collection<Document>,
    documents: &[Document],
    batch: usize,
) -> anyhow::Result<f64> {
    let database = client.database(&collection.namespace().db);
    let of_batch = |batch: &[Document]| {
        let updates = batch.chunks(TOGETHER).map(update).collect();
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
    let written = reply.get("nModified").and_then(Bson::as_i32);
    ensure!(written == Some(wanted), "not all commits found their document as it was");
    Ok(())
}

/// Refreshes, as a worker writes them.
fn update(documents: &[Document]) -> Document {
    let of = |field: &str| {
        documents.iter().map(|d| d.get(field).cloned().unwrap_or(Bson::Null)).collect()
    };
    let ids: Vec<Bson> = of("_id");
    let rows: Vec<_> = documents.iter().map(row).collect();
    let place = doc! { "$indexOfArray": [{ "$literal": &ids }, "$_id"] };
    let row = doc! { "$arrayElemAt": [{ "$literal": rows }, place] };
    let written = doc! { "$let": { "vars": { "row": row }, "in": written() } };
    doc! { "q": { "_id": { "$in": ids } }, "u": [{ "$replaceWith": written }], "multi": true }
}

/// What is written to a document, and what must hold for it.
fn row(document: &Document) -> Document {
    let hour_ms = 3_600_000;
    let of = |field: &str| document.get(field).cloned().unwrap_or(Bson::Null);
    doc! {
        "id": of("_id"),
        "sent": of("refresh_token"),
        "generation": 0_i64,
        "v0": of("access_token"),
        "v1": later(hour_ms),
        "v2": 0,
        "v3": 1_i64,
        "v4": later(168 * hour_ms),
        "v5": later(336 * hour_ms),
        "v6": DateTime::now(),
        "v7": "bench-00000000/simulator/1",
        "v8": "active",
        "v9": of("refresh_token"),
    }
}

/// A document with its row's values, if the row's condition holds.
fn written() -> Document {
    let is_paused = doc! { "$eq": ["$evergrant.status", "paused"] };
    let state = doc! { "$mergeObjects": ["$evergrant", {
        "access_expires_at": "$$row.v1",
        "attempts": "$$row.v2",
        "generation": "$$row.v3",
        "next_refresh_at": "$$row.v4",
        "refresh_idle_until": "$$row.v5",
        "refreshed_at": "$$row.v6",
        "settled_by": "$$row.v7",
        "status": { "$cond": [is_paused, "paused", "$$row.v8"] },
    }] };
    let unset = [
        "lease",
        "refresh_absolute_until",
        "last_error",
        "failing_since",
        "in_doubt",
        "dead_fingerprint",
        "queued_until",
    ];
    let stays = doc! { "$not": [{ "$in": ["$$part.k", { "$literal": unset.as_slice() }] }] };
    let input = doc! { "$objectToArray": state };
    let kept = doc! { "$filter": { "input": input, "as": "part", "cond": stays } };
    let holds = [
        doc! { "$eq": ["$_id", "$$row.id"] },
        doc! { "$eq": ["$refresh_token", "$$row.sent"] },
        doc! { "$eq": [{ "$ifNull": ["$evergrant.generation", 0_i64] }, "$$row.generation"] },
    ];
    let written = doc! { "$mergeObjects": ["$$ROOT", {
        "access_token": "$$row.v0",
        "evergrant": { "$arrayToObject": kept },
        "refresh_token": "$$row.v9",
    }] };
    doc! { "$cond": [{ "$and": holds.as_slice() }, written, "$$ROOT"] }
}
