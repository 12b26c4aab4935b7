//! Each stage alone, with the bare clients (lapin, mongodb, reqwest, rusqlite) and without any code
//! of Evergrant.
//!
//! A stage sends what Evergrant sends, in the same batches, as fast as the machine allows.

pub(crate) mod claim;
pub(crate) mod commit;
pub(crate) mod exchange;
pub(crate) mod group;
pub(crate) mod mark;
pub(crate) mod queue;
pub(crate) mod scan;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use mongodb::bson::{Bson, DateTime, Document, doc};
use tokio::task::JoinSet;

/// Concurrent batches of a stage, as many as a worker has commits: enough to keep the server busy
/// while an answer travels. More make claims and commits slower, and marks hardly faster.
pub(crate) const BATCHES_AT_ONCE: usize = 2;

/// Runs `act` for all items, `at_once` at a time, each in a task; returns the duration.
pub(crate) async fn timed<T, F, Fut>(
    items: Vec<T>,
    at_once: usize,
    act: F,
) -> anyhow::Result<Duration>
where
    T: Send + 'static,
    F: Fn(T) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let items = Arc::new(Mutex::new(items.into_iter()));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let (items, act) = (Arc::clone(&items), act.clone());
        tasks.spawn(async move {
            loop {
                let item = items.lock().unwrap_or_else(PoisonError::into_inner).next();
                match item {
                    Some(item) => act(item).await?,
                    None => return anyhow::Ok(()),
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.context("a task of a raw stage")??;
    }
    Ok(started.elapsed())
}

/// A rate.
pub(crate) fn per_s(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The ids of documents, in batches.
fn id_batches(documents: &[Document], batch: usize) -> Vec<Vec<Bson>> {
    let id = |document: &Document| document.get("_id").cloned().unwrap_or(Bson::Null);
    documents.chunks(batch).map(|batch| batch.iter().map(id).collect()).collect()
}

/// The condition that a time in the document is over, by the server's clock.
fn is_over(field: &str) -> Document {
    let time = doc! {
        "$convert": { "input": field, "to": "long", "onError": null, "onNull": null },
    };
    doc! { "$lte": [time, { "$toLong": "$$NOW" }] }
}

/// An expression: the server's time plus this many milliseconds.
fn from_now_ms(later_ms: i64) -> Document {
    doc! { "$dateAdd": { "startDate": "$$NOW", "unit": "millisecond", "amount": later_ms } }
}

/// This machine's time plus this many milliseconds.
fn later(later_ms: i64) -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() + later_ms)
}
