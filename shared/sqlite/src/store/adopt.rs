//! Adoption: documents without a state get one. See [`evergrant_document::adoption`] for whose they are.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;

use super::super::failure::Failure;
use super::lease::now;
use super::{Inner, table};
use evergrant_document::adoption::DocumentOwner;
use evergrant_document::transition;
use evergrant_ports::LeftAlone;
use evergrant_ports::UnadoptedDocuments;

/// Documents that are looked at at once, so that others get their turn.
const BATCH: usize = 1_000;

/// What a look at a batch of documents without a state found.
struct Batch {
    /// The rows of those that are a provider's of ours.
    ours: Vec<i64>,
    /// Those that are left alone.
    left: Vec<UnadoptedDocuments>,
    /// The last row that was looked at. None after the end.
    last: Option<i64>,
}

pub(super) async fn adopt(inner: &Arc<Inner>) -> Result<u64, Failure> {
    if !inner.rest.is_over() {
        return Ok(0);
    }
    let (began, mut adopted, mut last) = (Instant::now(), 0, Some(i64::MIN));
    while let Some(after) = last {
        let batch = look(inner, after).await?;
        if !batch.ours.is_empty() {
            let this = Arc::clone(inner);
            let adopting =
                inner.database.write(move |connection| adopt_rows(connection, &this, &batch.ours));
            adopted += adopting.await?;
        }
        last = batch.last;
    }
    if adopted == 0 {
        inner.rest.begin(began.elapsed());
    }
    Ok(adopted)
}

/// Counts the documents that are left alone, by the reason.
pub(super) async fn count_unadopted(
    inner: &Arc<Inner>,
) -> Result<Vec<UnadoptedDocuments>, Failure> {
    let (mut left, mut last) = (Vec::new(), Some(i64::MIN));
    while let Some(after) = last {
        let batch = look(inner, after).await?;
        left = UnadoptedDocuments::together(left.into_iter().chain(batch.left));
        last = batch.last;
    }
    Ok(left)
}

async fn look(inner: &Arc<Inner>, after: i64) -> Result<Batch, Failure> {
    let this = Arc::clone(inner);
    inner.database.read(move |connection| look_after(connection, &this, after)).await
}

fn look_after(connection: &Connection, inner: &Inner, after: i64) -> Result<Batch, Failure> {
    let sql = "SELECT n, body FROM documents WHERE status IS NULL AND n > ?1 ORDER BY n LIMIT ?2";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query((after, BATCH))?;
    let mut batch = Batch { ours: Vec::new(), left: Vec::new(), last: None };
    let mut left = Vec::new();
    while let Some(row) = rows.next()? {
        let n = row.get("n")?;
        batch.last = Some(n);
        let Ok(document) = table::decode(&row.get::<_, Vec<u8>>("body")?) else {
            left.push(UnadoptedDocuments { why: LeftAlone::Unreadable, documents: 1 });
            continue;
        };
        match inner.names.owner(&document) {
            Some(DocumentOwner::Section(_)) => batch.ours.push(n),
            Some(DocumentOwner::Nobody(why)) => left.push(UnadoptedDocuments { why, documents: 1 }),
            None => {}
        }
    }
    batch.left = UnadoptedDocuments::together(left);
    Ok(batch)
}

fn adopt_rows(connection: &Connection, inner: &Inner, rows: &[i64]) -> Result<u64, Failure> {
    let names = &inner.names;
    let now = now(connection)?;
    let mut adopted = 0;
    for n in rows {
        let Some(mut stored) = table::find_row(connection, names, *n)? else { continue };
        // It may have changed since it was read.
        let adoption = transition::adopt(names, &stored.document);
        if !adoption.is_some_and(|adoption| adoption.carry_out(&mut stored.document, now)) {
            continue;
        }
        // One that is too large keeps no other from being adopted.
        adopted += u64::from(table::update(connection, names, &stored).is_ok());
    }
    Ok(adopted)
}
