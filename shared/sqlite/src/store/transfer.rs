//! Documents in and out, as extended JSON.

use async_trait::async_trait;
use bson::{Bson, Document};
use futures::stream::BoxStream;
use rusqlite::{Connection, Row};

use super::super::failure::Failure;
use super::{SqliteStore, in_chunks, key, table};
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::import::{held_tokens, kept, marks_after, prepared};
use evergrant_document::paths::put;
use evergrant_document::state::HELD_BEFORE;
use evergrant_document::{extended_json, ids, import::id_and_fields};
use evergrant_ports::{
    HeldTokens, ImportDocument, ImportMode, ImportResult, StoreError, TransferStore,
};

#[async_trait]
impl TransferStore for SqliteStore {
    async fn import_as(
        &self,
        documents: Vec<ImportDocument>,
        mode: ImportMode,
    ) -> Result<Vec<ImportResult>, StoreError> {
        let read = read_all(documents).map_err(|failure| failure.in_store("import"))?;
        self.write("import", move |connection, inner| import(connection, &inner.names, read, mode))
            .await
    }

    fn export(&self) -> BoxStream<'_, Result<serde_json::Value, StoreError>> {
        in_chunks(Vec::new(), move |after: Vec<u8>| {
            self.read("export", move |connection, _| {
                chunk(connection, &after, extended_json::of_document)
            })
        })
    }

    fn held_tokens(&self) -> BoxStream<'_, Result<HeldTokens, StoreError>> {
        in_chunks(Vec::new(), move |after: Vec<u8>| {
            self.read("held_tokens", move |connection, inner| {
                chunk(connection, &after, |document| held_tokens(&inner.names, &document))
            })
        })
    }
}

/// A document to import, read.
pub(super) struct ImportRow {
    key: Vec<u8>,
    id: Bson,
    fields: Document,
}

/// Reads all of `documents`, or says which of them cannot be a document.
pub(super) fn read_all(documents: Vec<ImportDocument>) -> Result<Vec<ImportRow>, Failure> {
    let read = documents.into_iter().enumerate().map(|(index, document)| {
        read(document).map_err(|what| {
            Failure::refused(format!("document {} of those to import: {what}", index + 1))
        })
    });
    read.collect()
}

fn read(document: ImportDocument) -> Result<ImportRow, &'static str> {
    let (id, fields) = id_and_fields(document)?;
    if fields.to_vec().is_err() {
        return Err("the name of one of its fields cannot be written as BSON");
    }
    Ok(ImportRow { key: key::of(&id), id, fields })
}

/// Inserts documents, or lays their fields over those that are there.
pub(super) fn import(
    connection: &Connection,
    names: &FieldPaths,
    documents: Vec<ImportRow>,
    mode: ImportMode,
) -> Result<Vec<ImportResult>, Failure> {
    let one = |read| import_one(connection, names, read, mode);
    documents.into_iter().map(one).collect()
}

fn import_one(
    connection: &Connection,
    names: &FieldPaths,
    ImportRow { key, id, fields }: ImportRow,
    mode: ImportMode,
) -> Result<ImportResult, Failure> {
    if let Some(stored) = table::find_by_key(connection, names, &key)? {
        let mut document = stored.document;
        if let Some(kept) = kept(names, &document, &fields, mode) {
            return Ok(kept);
        }
        let fields = prepared(names, Some(&document), fields, mode);
        let marks = marks_after(names, &document, &fields);
        document.extend(fields);
        if let Some(marks) = marks {
            put(&mut document, &names.path(HELD_BEFORE), marks);
        }
        table::put(connection, names, Some(stored.n), &key, &document)?;
        return Ok(ImportResult::Updated);
    }
    if mode != ImportMode::Copy {
        for twin in ids::from_bson(&id).twins() {
            if table::find(connection, names, &twin)?.is_some() {
                return Ok(ImportResult::Twin(twin));
            }
        }
    }
    let mut document = Document::new();
    document.insert("_id", id);
    document.extend(prepared(names, None, fields, mode));
    table::put(connection, names, None, &key, &document)?;
    Ok(ImportResult::Inserted)
}

/// Documents in one chunk.
const CHUNK_DOCUMENTS: usize = 200;
/// A chunk is not much longer than this.
const CHUNK_BYTES: usize = 1024 * 1024;

/// What was made of a chunk of documents, and the key of the last; None after the end.
pub(super) type Chunk<T> = (Vec<T>, Option<Vec<u8>>);

/// What is made of the documents after `after`, in the order of their `_id`.
pub(super) fn chunk<T>(
    connection: &Connection,
    after: &[u8],
    made: impl Fn(Document) -> T,
) -> Result<Chunk<T>, Failure> {
    let sql = "SELECT key, body FROM documents WHERE key > ?1 ORDER BY key LIMIT ?2";
    let mut select = connection.prepare_cached(sql)?;
    let row = |row: &Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?));
    let (mut chunk, mut last, mut bytes) = (Vec::new(), None, 0);
    for found in select.query_map((after, CHUNK_DOCUMENTS), row)? {
        let (key, body) = found?;
        bytes += body.len();
        chunk.push(made(table::decode(&body)?));
        last = Some(key);
        if bytes >= CHUNK_BYTES {
            return Ok((chunk, last));
        }
    }
    let whole = chunk.len() == CHUNK_DOCUMENTS;
    Ok((chunk, last.filter(|_| whole)))
}
