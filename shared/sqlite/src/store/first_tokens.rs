//! Which document a refresh token was exchanged for first; see [`evergrant_domain::twins`].

use rusqlite::Connection;

use super::super::failure::Failure;
use super::table;
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::{decode, ids};
use evergrant_domain::{ClaimedDocument, DocumentId};

/// The row of a claim; as a twin, if another document had its token first.
pub(super) fn note(
    connection: &Connection,
    names: &FieldPaths,
    id: &DocumentId,
    row: ClaimedDocument,
) -> Result<ClaimedDocument, Failure> {
    let Some(first_use) = row.first_use() else { return Ok(row) };
    let Some(own) = table::key_of(id) else { return Ok(row) };
    let (token, fingerprint) = (first_use.key(), &first_use.fingerprint);
    let sql = "INSERT OR IGNORE INTO first_tokens (token, document) VALUES (?1, ?2)";
    if connection.prepare_cached(sql)?.execute((&token, &own))? == 1 {
        return Ok(row);
    }
    let sql = "SELECT document FROM first_tokens WHERE token = ?1";
    let noted: Vec<u8> = connection.prepare_cached(sql)?.query_row([&token], |row| row.get(0))?;
    if noted == own {
        return Ok(row);
    }
    let holder = table::find_by_key(connection, names, &noted)?;
    let keeps = |first: &table::StoredDocument| {
        decode::first_holder(names, &first.document).keeps(fingerprint)
    };
    if let Some(first) = holder.filter(keeps) {
        let first = first.document.get("_id").map(ids::from_bson);
        return Ok(first.map_or(row, |first| first_use.twin_of(first)));
    }
    let sql = "UPDATE first_tokens SET document = ?2 WHERE token = ?1";
    connection.prepare_cached(sql)?.execute((&token, &own))?;
    Ok(row)
}
