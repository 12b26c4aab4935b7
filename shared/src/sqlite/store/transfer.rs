//! Documents in and out, as extended JSON.

use bson::{Bson, Document};
use rusqlite::{Connection, Row};

use super::super::failure::Failure;
use super::{key, table};
use crate::mongo::names::Names;
use crate::mongo::{extended_json, transfer::id_and_fields};
use crate::ports::{ImportCount, ImportDocument};

/// A document to import, read.
pub(super) struct Read {
    key: Vec<u8>,
    id: Bson,
    fields: Document,
}

/// Reads all of `documents`, or says which of them cannot be a document.
pub(super) fn read_all(documents: Vec<ImportDocument>) -> Result<Vec<Read>, Failure> {
    let read = documents.into_iter().enumerate().map(|(index, document)| {
        read(document).map_err(|what| {
            Failure::refused(format!("document {} of those to import: {what}", index + 1))
        })
    });
    read.collect()
}

fn read(document: ImportDocument) -> Result<Read, &'static str> {
    let (id, fields) = id_and_fields(document)?;
    if fields.to_vec().is_err() {
        return Err("the name of one of its fields cannot be written as BSON");
    }
    Ok(Read { key: key::of(&id), id, fields })
}

/// Inserts documents, or lays their fields over those that are there.
pub(super) fn import(
    connection: &Connection,
    names: &Names,
    documents: Vec<Read>,
) -> Result<ImportCount, Failure> {
    let mut count = ImportCount::default();
    for Read { key, id, fields } in documents {
        let found = table::find_by_key(connection, names, &key)?;
        let n = found.as_ref().map(|stored| stored.n);
        match n {
            Some(_) => count.updated += 1,
            None => count.inserted += 1,
        }
        let mut document = found.map(|stored| stored.document).unwrap_or_else(|| {
            let mut new = Document::new();
            new.insert("_id", id);
            new
        });
        document.extend(fields);
        table::put(connection, names, n, &key, &document)?;
    }
    Ok(count)
}

/// Documents in one chunk of an export.
const CHUNK_DOCUMENTS: usize = 200;
/// A chunk is not much longer than this.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A chunk of documents, and the key of the last; None after the end.
pub(super) type Chunk = (Vec<serde_json::Value>, Option<Vec<u8>>);

/// The documents after `after`, in the order of their `_id`.
pub(super) fn export_chunk(connection: &Connection, after: &[u8]) -> Result<Chunk, Failure> {
    let sql = "SELECT key, body FROM documents WHERE key > ?1 ORDER BY key LIMIT ?2";
    let mut select = connection.prepare_cached(sql)?;
    let row = |row: &Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?));
    let (mut chunk, mut last, mut bytes) = (Vec::new(), None, 0);
    for found in select.query_map((after, CHUNK_DOCUMENTS), row)? {
        let (key, body) = found?;
        bytes += body.len();
        chunk.push(extended_json::of_document(table::decode(&body)?));
        last = Some(key);
        if bytes >= CHUNK_BYTES {
            return Ok((chunk, last));
        }
    }
    let whole = chunk.len() == CHUNK_DOCUMENTS;
    Ok((chunk, last.filter(|_| whole)))
}
