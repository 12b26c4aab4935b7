//! The table of documents: the body is the truth, the columns are taken from it.

use bson::{Bson, Document};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::failure::Failure;
use super::key;
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::paths::at;
use evergrant_document::{decode, ids};
use evergrant_domain::DocumentId;

/// As large as MongoDB takes a document: what is kept here can move there.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A document as it is stored.
pub(super) struct StoredDocument {
    /// Its row.
    pub(super) n: i64,
    pub(super) document: Document,
    /// The process that took the lease last. Not known of a row that was found by its number.
    pub(super) holder: Option<String>,
    /// The columns as they are in the row.
    columns: Columns,
}

/// What documents are found by on their way through a refresh.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) provider: Option<String>,
    /// Empty for a status that is no text; None for a document that is not adopted.
    pub(super) status: Option<String>,
    pub(super) due_ms: i64,
    pub(super) queued_ms: i64,
    /// None if that is not known.
    expires_ms: Option<i64>,
}

impl Columns {
    pub(super) fn from_document(names: &FieldPaths, document: &Document) -> Self {
        let part = |part| at(document, &names.path(part));
        let text = |value: &Bson| value.as_str().unwrap_or_default().to_owned();
        Self {
            provider: part("provider").map(text),
            status: part("status").map(text),
            due_ms: ms(part("next_refresh_at")),
            queued_ms: ms(part("queued_until")),
            expires_ms: part("refresh_idle_until").map(|time| ms(Some(time))),
        }
    }
}

/// A time, or the beginning of time where there is none: it is over then.
fn ms(time: Option<&Bson>) -> i64 {
    match time {
        Some(Bson::DateTime(time)) => time.timestamp_millis(),
        _ => i64::MIN,
    }
}

/// What operators find documents by.
struct Labels {
    user: Option<String>,
    email: Option<String>,
}

impl Labels {
    fn from_document(names: &FieldPaths, document: &Document) -> Self {
        let view = decode::view(names, document);
        Self { user: view.user, email: view.email }
    }
}

/// The key of a document, if any document can have this id.
pub(super) fn key_of(id: &DocumentId) -> Option<Vec<u8>> {
    ids::to_bson(id).map(|id| key::of(&id))
}

/// The document with this id.
pub(super) fn find(
    connection: &Connection,
    names: &FieldPaths,
    id: &DocumentId,
) -> Result<Option<StoredDocument>, Failure> {
    match key_of(id) {
        Some(key) => find_by_key(connection, names, &key),
        None => Ok(None),
    }
}

pub(super) fn find_by_key(
    connection: &Connection,
    names: &FieldPaths,
    key: &[u8],
) -> Result<Option<StoredDocument>, Failure> {
    let sql = "SELECT n, body, holder FROM documents WHERE key = ?1";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?));
    let found = connection.prepare_cached(sql)?.query_row([key], row).optional()?;
    found.map(|(n, body, holder)| stored(names, n, &body, holder)).transpose()
}

/// The document in this row.
pub(super) fn find_row(
    connection: &Connection,
    names: &FieldPaths,
    n: i64,
) -> Result<Option<StoredDocument>, Failure> {
    let mut select = connection.prepare_cached("SELECT body FROM documents WHERE n = ?1")?;
    let found = select.query_row([n], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    found.map(|body| stored(names, n, &body, None)).transpose()
}

fn stored(
    names: &FieldPaths,
    n: i64,
    body: &[u8],
    holder: Option<String>,
) -> Result<StoredDocument, Failure> {
    let document = decode(body)?;
    let columns = Columns::from_document(names, &document);
    Ok(StoredDocument { n, document, holder, columns })
}

/// A body as a document.
pub(super) fn decode(body: &[u8]) -> Result<Document, Failure> {
    Document::from_reader(body).map_err(|_| Failure::refused("a document in it cannot be read"))
}

fn encode(document: &Document) -> Result<Vec<u8>, Failure> {
    let body = document.to_vec();
    let body = body.map_err(|_| Failure::refused("a document cannot be written as BSON"))?;
    if body.len() > BODY_BYTES_MAX {
        return Err(Failure::refused("the document would be too large: 16 MiB is the limit"));
    }
    Ok(body)
}

/// Writes a document whose state has changed.
pub(super) fn update(
    connection: &Connection,
    names: &FieldPaths,
    stored: &StoredDocument,
) -> Result<(), Failure> {
    let body = encode(&stored.document)?;
    let Columns { provider, status, due_ms, queued_ms, expires_ms } =
        Columns::from_document(names, &stored.document);
    let was = &stored.columns;
    let before = (&was.provider, &was.status, was.due_ms, was.expires_ms);
    if (&provider, &status, due_ms, expires_ms) == before {
        // The indexes by time stay as they are.
        let sql = "UPDATE documents SET body = ?2, queued_ms = ?3 WHERE n = ?1";
        connection.prepare_cached(sql)?.execute(params![stored.n, body, queued_ms])?;
        return Ok(());
    }
    let sql = "UPDATE documents SET body = ?2, queued_ms = ?3, provider = ?4, status = ?5, \
               due_ms = ?6, expires_ms = ?7 WHERE n = ?1";
    let values = params![stored.n, body, queued_ms, provider, status, due_ms, expires_ms];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Writes a document whose lease this process has taken. The columns that it is found by stay as they
/// are.
pub(super) fn update_lease(
    connection: &Connection,
    stored: &StoredDocument,
    process: &str,
) -> Result<(), Failure> {
    let sql = "UPDATE documents SET body = ?2, holder = ?3 WHERE n = ?1";
    let values = params![stored.n, encode(&stored.document)?, process];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Writes a document of which anything may have changed, as that of `key`; in its row `n`, if it has
/// one.
pub(super) fn put(
    connection: &Connection,
    names: &FieldPaths,
    n: Option<i64>,
    key: &[u8],
    document: &Document,
) -> Result<(), Failure> {
    let body = encode(document)?;
    let Labels { user, email } = Labels::from_document(names, document);
    let Columns { provider, status, due_ms, queued_ms, expires_ms } =
        Columns::from_document(names, document);
    let sql = "INSERT INTO documents (n, key, body, user, email, provider, status, due_ms, queued_ms, \
               expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
               ON CONFLICT (n) DO UPDATE SET body = excluded.body, user = excluded.user, \
               email = excluded.email, provider = excluded.provider, status = excluded.status, \
               due_ms = excluded.due_ms, queued_ms = excluded.queued_ms, \
               expires_ms = excluded.expires_ms, holder = NULL";
    let values =
        params![n, key, body, user, email, provider, status, due_ms, queued_ms, expires_ms];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}
