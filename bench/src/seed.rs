//! Due documents, as an application and Evergrant's adoption leave them.

use anyhow::anyhow;
use evergrant_testkit::deployment::PROVIDER;
use mongodb::Collection;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde_json::Value;

/// Documents in one command.
const BATCH: usize = 1_000;
/// Due times are spread over this interval, so that their order differs from that of insertion.
const SPREAD_MS: i64 = 3_600_000;

/// Grants that Evergrant has never refreshed; their first exchange costs a note about the token.
pub(crate) const NEVER: i64 = 0;
/// Grants that were refreshed once, like nearly all in practice.
pub(crate) const ONCE: i64 = 1;

/// Stores the documents of signed-in users, and returns them.
pub(crate) async fn users(
    collection: &Collection<Document>,
    users: Vec<Value>,
    refreshed: i64,
) -> anyhow::Result<Vec<Document>> {
    let documents = documents(users, refreshed)?;
    for batch in documents.chunks(BATCH) {
        insert(collection, batch.to_vec()).await?;
    }
    Ok(documents)
}

/// The documents of signed-in users, due.
pub(crate) fn documents(users: Vec<Value>, refreshed: i64) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::with_capacity(users.len());
    for (ordinal, user) in users.into_iter().enumerate() {
        let Bson::Document(mut document) = Bson::try_from(user)? else { continue };
        document.insert("evergrant", state(ordinal, refreshed));
        documents.push(document);
    }
    Ok(documents)
}

/// The positions of documents, soonest due first: the order in which their jobs are published.
pub(crate) fn order_of_due(documents: &[Document]) -> Vec<usize> {
    let due = |place: &usize| {
        let state =
            documents.get(*place).and_then(|document| document.get_document("evergrant").ok());
        state.and_then(|state| state.get_datetime("next_refresh_at").ok().copied())
    };
    let mut places: Vec<usize> = (0..documents.len()).collect();
    places.sort_by_key(due);
    places
}

/// Stores `count` documents with tokens that are unknown to the provider, without holding them all
/// at once.
pub(crate) async fn strangers(collection: &Collection<Document>, count: u32) -> anyhow::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    for ordinal in 0..count as usize {
        batch.push(stranger(ordinal));
        if batch.len() == BATCH {
            insert(collection, std::mem::take(&mut batch)).await?;
        }
    }
    if batch.is_empty() { Ok(()) } else { insert(collection, batch).await }
}

/// A due document with a token that is unknown to the provider.
pub(crate) fn stranger(ordinal: usize) -> Document {
    doc! {
        "_id": ObjectId::new(),
        "userId": format!("user-{ordinal:07}"),
        "access_token": format!("bench_at_{ordinal:044}"),
        "refresh_token": format!("bench_rt_{ordinal:044}"),
        "email": format!("user-{ordinal:07}@example.com"),
        "evergrant": state(ordinal, NEVER),
    }
}

/// The state that a producer looks for.
fn state(ordinal: usize, refreshed: i64) -> Document {
    let ordinal = i64::try_from(ordinal).unwrap_or_default();
    let due = DateTime::now().timestamp_millis() - ordinal.wrapping_mul(7_919_000) % SPREAD_MS;
    doc! {
        "provider": PROVIDER,
        "status": "active",
        "generation": refreshed,
        "attempts": 0,
        "next_refresh_at": DateTime::from_millis(due),
    }
}

async fn insert(collection: &Collection<Document>, batch: Vec<Document>) -> anyhow::Result<()> {
    // The driver's message could quote a document.
    let inserted = collection.insert_many(batch).ordered(false).await;
    inserted.map(drop).map_err(|_| anyhow!("the store did not take the documents"))
}
