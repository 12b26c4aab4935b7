//! Commits: one `update` command for each batch, every update on its condition.

use anyhow::{Context, ensure};
use mongodb::Collection;
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::{BATCHES_AT_ONCE, later, per_s, timed};

/// Writes new tokens to all of `documents`; commits a second.
pub(crate) async fn measure(
    client: &mongodb::Client,
    collection: &Collection<Document>,
    documents: &[Document],
    batch: usize,
) -> anyhow::Result<f64> {
    let database = client.database(&collection.namespace().db);
    let batches: Vec<Vec<Document>> =
        documents.chunks(batch).map(|batch| batch.iter().map(update).collect()).collect();
    let name = collection.name().to_owned();
    let commit = move |updates| commit(database.clone(), name.clone(), updates);
    Ok(per_s(documents.len(), timed(batches, BATCHES_AT_ONCE, commit).await?))
}

async fn commit(
    database: mongodb::Database,
    collection: String,
    updates: Vec<Document>,
) -> anyhow::Result<()> {
    let wanted = i32::try_from(updates.len())?;
    let command = doc! {
        "update": collection,
        "updates": updates,
        "ordered": false,
        "writeConcern": { "w": "majority", "wtimeout": 10_000, "j": true },
    };
    let reply = database.run_command(command).await.context("commit")?;
    ensure!(reply.get_i32("n").ok() == Some(wanted), "not all commits found their document");
    Ok(())
}

/// A refresh, as a worker writes it.
fn update(document: &Document) -> Document {
    let hour_ms = 3_600_000;
    let token = |field: &str| document.get(field).cloned().unwrap_or(Bson::Null);
    doc! {
        "q": {
            "_id": token("_id"),
            "refresh_token": token("refresh_token"),
            "evergrant.generation": { "$in": [0_i64, null] },
            "evergrant.status": { "$in": ["active", "needs_reauth", "failed"] },
        },
        "u": {
            "$set": {
                "access_token": token("access_token"),
                "refresh_token": token("refresh_token"),
                "evergrant.settled_by": "bench-00000000/simulator/1",
                "evergrant.status": "active",
                "evergrant.generation": 1_i64,
                "evergrant.attempts": 0,
                "evergrant.refreshed_at": DateTime::now(),
                "evergrant.access_expires_at": later(hour_ms),
                "evergrant.refresh_idle_until": later(336 * hour_ms),
                "evergrant.next_refresh_at": later(168 * hour_ms),
            },
            "$unset": {
                "evergrant.lease": "",
                "evergrant.refresh_absolute_until": "",
                "evergrant.last_error": "",
                "evergrant.failing_since": "",
                "evergrant.in_doubt": "",
                "evergrant.dead_fingerprint": "",
                "evergrant.queued_until": "",
            },
        },
        "multi": false,
    }
}
