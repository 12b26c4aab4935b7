//! Commits: one `update` command for each batch, every document on its condition.

use anyhow::{Context, ensure};
use mongodb::Collection;
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::claim::OWNER;
use super::{BATCHES_AT_ONCE, later, per_s, timed};
use crate::seed;

/// Writes new tokens to all of `documents`; commits a second.
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
    let as_it_was = doc! {
        "_id": of("_id"),
        "refresh_token": of("refresh_token"),
        "evergrant.generation": seed::ONCE,
        "evergrant.lease.owner": OWNER,
    };
    let set = doc! {
        "evergrant.settled_by": OWNER,
        "access_token": of("access_token"),
        "refresh_token": of("refresh_token"),
        "evergrant.generation": seed::ONCE + 1,
        "evergrant.attempts": 0,
        "evergrant.refreshed_at": DateTime::now(),
        "evergrant.access_expires_at": later(hour_ms),
        "evergrant.refresh_idle_until": later(336 * hour_ms),
        "evergrant.next_refresh_at": later(168 * hour_ms),
    };
    let unset = [
        "lease",
        "refresh_absolute_until",
        "ends_of",
        "last_error",
        "failing_since",
        "in_doubt",
        "questioned",
        "dead_fingerprint",
        "queued_until",
    ];
    let unset = unset.map(|part| (format!("evergrant.{part}"), Bson::from("")));
    let change = doc! { "$set": set, "$unset": Document::from_iter(unset) };
    doc! { "q": as_it_was, "u": change, "multi": false }
}
