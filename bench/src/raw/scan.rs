//! The scan: one cursor over the due index.

use std::time::Instant;

use anyhow::{Context, ensure};
use evergrant_testkit::deployment::PROVIDER;
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{DateTime, Document, doc};

use super::per_s;

/// Documents in one answer of the server.
const BATCH: u32 = 1_000;

/// Reads all due documents, soonest first; returns documents a second and the first `keep`
/// documents.
pub(crate) async fn measure(
    collection: &Collection<Document>,
    count: usize,
    keep: usize,
) -> anyhow::Result<(f64, Vec<Document>)> {
    let started = Instant::now();
    let not_later = doc! { "$not": { "$gt": DateTime::now() } };
    let due = doc! {
        "evergrant.provider": PROVIDER,
        "evergrant.status": "active",
        "evergrant.next_refresh_at": &not_later,
        "evergrant.queued_until": &not_later,
    };
    let mut cursor = collection
        .find(due)
        .sort(doc! { "evergrant.next_refresh_at": 1, "_id": 1 })
        .projection(doc! { "evergrant.next_refresh_at": 1, "evergrant.generation": 1 })
        .batch_size(BATCH)
        .await
        .context("scan")?;
    let (mut kept, mut seen) = (Vec::with_capacity(keep), 0);
    while let Some(document) = cursor.try_next().await.context("scan")? {
        seen += 1;
        if kept.len() < keep {
            kept.push(document);
        }
    }
    ensure!(seen == count, "{seen} documents are due, not {count}");
    Ok((per_s(count, started.elapsed()), kept))
}
