//! Claims: a conditional update and a read for each batch.

use anyhow::Context;
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};

use super::{BATCHES_AT_ONCE, from_now_ms, id_batches, is_over, per_s, timed};

/// The owner of the claims and commits.
pub(super) const OWNER: &str = "bench-00000000/simulator/1";

/// Claims all of `documents`; returns claims a second.
pub(crate) async fn measure(
    collection: &Collection<Document>,
    documents: &[Document],
    batch: usize,
) -> anyhow::Result<f64> {
    let batches = id_batches(documents, batch);
    let collection = collection.clone();
    let claim = move |ids| claim(collection.clone(), ids);
    Ok(per_s(documents.len(), timed(batches, BATCHES_AT_ONCE, claim).await?))
}

async fn claim(collection: Collection<Document>, ids: Vec<Bson>) -> anyhow::Result<()> {
    let active = doc! { "_id": { "$in": &ids }, "evergrant.status": "active" };
    let owner = doc! { "$literal": OWNER };
    let own = doc! { "$eq": ["$evergrant.lease.owner", &owner] };
    let free = doc! { "$or": [&own, is_over("$evergrant.lease.until")] };
    let nobody =
        doc! { "$in": [{ "$type": "$evergrant.lease" }, ["missing", "null", "undefined"]] };
    let one = doc! { "$eq": ["$evergrant.lease.taken_over", false] };
    let other = doc! {
        "$cond": [nobody, false, { "$cond": [one, "$evergrant.lease.owner", true] }],
    };
    let taken_over = doc! { "$cond": [own, "$evergrant.lease.taken_over", other] };
    let lease = doc! { "owner": owner, "until": from_now_ms(25_000), "taken_over": taken_over };
    let lease = doc! { "$cond": [free, lease, "$evergrant.lease"] };
    let take = vec![doc! { "$set": { "evergrant.lease": lease } }];
    collection.update_many(active, take).await.context("claim")?;
    let found = collection
        .find(doc! { "_id": { "$in": ids } })
        .projection(doc! { "evergrant": 1, "refresh_token": 1 });
    let rows: Vec<Document> = found.await.context("read")?.try_collect().await.context("read")?;
    std::hint::black_box(rows);
    Ok(())
}
