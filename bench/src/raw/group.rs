//! Group commits: bare SQLite, one transaction for each batch, durable at its end.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use mongodb::bson::Document;
use rusqlite::{Connection, params};

use super::per_s;

const TABLE: &str = "CREATE TABLE documents (n INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, \
                     body BLOB NOT NULL, due_ms INTEGER NOT NULL); \
                     CREATE INDEX documents_due ON documents (due_ms);";

/// A document's key, and its body.
type Row = (Vec<u8>, Vec<u8>);

/// Rewrites all of `documents` in this `order`, in groups of `group`; returns commits a second.
pub(crate) fn measure(
    file: &Path,
    documents: &[Document],
    order: &[usize],
    group: usize,
) -> anyhow::Result<f64> {
    let mut connection = Connection::open(file).context("a raw SQLite file")?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(TABLE)?;
    let rows: Vec<Row> = documents.iter().map(row).collect::<Result<_, _>>()?;
    insert(&mut connection, &rows)?;
    let started = Instant::now();
    for places in order.chunks(group) {
        let transaction = connection.transaction()?;
        let mut update = transaction
            .prepare_cached("UPDATE documents SET body = ?2, due_ms = due_ms + 1 WHERE key = ?1")?;
        for (key, body) in places.iter().filter_map(|place| rows.get(*place)) {
            update.execute((key, body))?;
        }
        drop(update);
        transaction.commit()?;
    }
    Ok(per_s(order.len(), started.elapsed()))
}

fn row(document: &Document) -> anyhow::Result<Row> {
    let id = document.get("_id").context("a document without an _id")?;
    Ok((id.to_string().into_bytes(), document.to_vec()?))
}

fn insert(connection: &mut Connection, rows: &[Row]) -> anyhow::Result<()> {
    let transaction = connection.transaction()?;
    let mut insert = transaction
        .prepare_cached("INSERT INTO documents (key, body, due_ms) VALUES (?1, ?2, ?3)")?;
    for (due_ms, (key, body)) in rows.iter().enumerate() {
        insert.execute(params![key, body, due_ms])?;
    }
    drop(insert);
    Ok(transaction.commit()?)
}
