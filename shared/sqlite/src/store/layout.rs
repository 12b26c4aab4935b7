//! The columns are taken from the documents by the names of fields in the settings. If these have
//! changed since, all columns are taken anew.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::failure::Failure;
use super::table;
use evergrant_document::field_paths::FieldPaths;

/// Makes the columns agree with `names`.
pub(super) fn agree(connection: &Connection, names: &FieldPaths) -> Result<(), Failure> {
    let wanted = describe(names);
    let sql = "SELECT names FROM layout";
    let known: Option<String> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    match known {
        Some(known) if known == wanted => return Ok(()),
        Some(_) => take_anew(connection, names)?,
        None => {}
    }
    connection.execute("DELETE FROM layout", [])?;
    connection.execute("INSERT INTO layout (names) VALUES (?1)", [wanted])?;
    Ok(())
}

fn describe(names: &FieldPaths) -> String {
    serde_json::json!([names.state, names.fields.user_id, names.fields.email]).to_string()
}

fn take_anew(connection: &Connection, names: &FieldPaths) -> Result<(), Failure> {
    let mut next =
        connection.prepare("SELECT n, key, body FROM documents WHERE n > ?1 ORDER BY n LIMIT 1")?;
    let mut last = i64::MIN;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    loop {
        let found: Option<(i64, Vec<u8>, Vec<u8>)> =
            next.query_row(params![last], row).optional()?;
        let Some((n, key, body)) = found else { return Ok(()) };
        table::put(connection, names, Some(n), &key, &table::decode(&body)?)?;
        last = n;
    }
}
