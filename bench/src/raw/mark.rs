//! Marks: one conditional update for each window of published jobs.

use anyhow::Context;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{Acknowledgment, WriteConcern};

use super::{BATCHES_AT_ONCE, from_now_ms, id_batches, is_over, per_s, timed};

/// Marks `documents` so that they remain due; returns marks a second.
pub(crate) async fn measure(
    collection: &Collection<Document>,
    documents: &[Document],
    window: usize,
) -> anyhow::Result<f64> {
    let batches = id_batches(documents, window);
    let collection = collection.clone();
    let mark = move |ids| mark(collection.clone(), ids);
    Ok(per_s(documents.len(), timed(batches, BATCHES_AT_ONCE, mark).await?))
}

async fn mark(collection: Collection<Document>, ids: Vec<Bson>) -> anyhow::Result<()> {
    let active = doc! { "_id": { "$in": ids }, "evergrant.status": "active" };
    let due = is_over("$evergrant.next_refresh_at");
    // An expired mark hides nothing from the producer that is measured afterwards.
    let mark = doc! { "$cond": [due, from_now_ms(-1_000), "$evergrant.queued_until"] };
    let mark = vec![doc! { "$set": { "evergrant.queued_until": mark } }];
    let concern = WriteConcern::builder().w(Acknowledgment::Nodes(1)).build();
    collection.update_many(active, mark).write_concern(concern).await.context("mark")?;
    Ok(())
}
