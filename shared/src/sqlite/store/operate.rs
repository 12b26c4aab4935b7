//! What operators see of grants.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::super::failure::Failure;
use super::table;
use crate::domain::DocumentId;
use crate::mongo::decode;
use crate::mongo::names::Names;
use crate::ports::{GrantFilter, GrantView};

/// Grants in one chunk.
const CHUNK: u64 = 500;

/// A chunk of grants, and the key of the last; None after the end.
pub(super) type Chunk = (Vec<GrantView>, Option<Vec<u8>>);

/// The grants of `filter` after the key `after`, in the order of their `_id`; at most `limit`.
pub(super) fn list_chunk(
    connection: &Connection,
    names: &Names,
    filter: &GrantFilter,
    after: &[u8],
    limit: u64,
) -> Result<Chunk, Failure> {
    let wanted = limit.min(CHUNK);
    let (conditions, mut values) = conditions(filter);
    values.push(Value::from(after.to_vec()));
    values.push(Value::from(i64::try_from(wanted).unwrap_or(i64::MAX)));
    let sql =
        format!("SELECT key, body FROM documents WHERE {conditions}key > ? ORDER BY key LIMIT ?");
    let mut select = connection.prepare_cached(&sql)?;
    let row = |row: &Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?));
    let (mut chunk, mut last) = (Vec::new(), None);
    for found in select.query_map(params_from_iter(values), row)? {
        let (key, body) = found?;
        chunk.push(decode::view(names, &table::decode(&body)?));
        last = Some(key);
    }
    let whole = chunk.len() as u64 == wanted;
    Ok((chunk, last.filter(|_| whole)))
}

/// The conditions that are asked for, and their values. A plus sign keeps SQLite from an index that
/// would have to be sorted again for each chunk; a user has few documents.
fn conditions(filter: &GrantFilter) -> (String, Vec<Value>) {
    let conditions = [
        ("+provider = ? AND ", filter.provider.as_ref().map(ToString::to_string)),
        ("+status = ? AND ", filter.status.map(|status| status.as_str().to_owned())),
        ("user = ? AND ", filter.user.clone()),
        ("+email = ? AND ", filter.email.clone()),
    ];
    let mut sql = String::new();
    let mut values = Vec::new();
    for (condition, value) in conditions {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(Value::from(value));
        }
    }
    (sql, values)
}

pub(super) fn get(
    connection: &Connection,
    names: &Names,
    id: &DocumentId,
) -> Result<Option<GrantView>, Failure> {
    let found = table::find(connection, names, id)?;
    Ok(found.map(|stored| decode::view(names, &stored.document)))
}
