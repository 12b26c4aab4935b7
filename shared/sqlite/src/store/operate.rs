//! What operators see of grants, in chunks, each order by an index of its own.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::super::failure::Failure;
use super::table;
use evergrant_document::decode;
use evergrant_document::field_paths::FieldPaths;
use evergrant_domain::{GrantStatus, Timestamp};
use evergrant_ports::{GrantFilter, GrantOrder, GrantView};

/// Documents that are looked at in one chunk.
const CHUNK: usize = 500;

/// How far a listing has come.
#[derive(Clone, Default)]
pub(super) struct ListCursor {
    key: Vec<u8>,
    /// The row, where those of one time come in its order.
    n: Option<i64>,
    /// The time that they are listed by.
    at_ms: Option<i64>,
    email: Option<String>,
}

/// A chunk of grants, and the place of the last document that was looked at; None after the end.
pub(super) type Chunk = (Vec<GrantView>, Option<ListCursor>);

/// Where a listing begins.
pub(super) fn beginning(
    connection: &Connection,
    filter: &GrantFilter,
) -> Result<ListCursor, Failure> {
    let Some(after) = &filter.after else { return Ok(ListCursor::default()) };
    let key = table::key_of(&after.id).unwrap_or_default();
    let select = "SELECT n FROM documents WHERE key = ?1";
    let n = connection.prepare_cached(select)?.query_row([&key], |row| row.get(0)).optional()?;
    let at_ms = after.due.or(after.expires).map_or(i64::MIN, Timestamp::unix_ms);
    // Of a document that is gone, those of its time come again rather than not at all.
    let n = n.or(Some(i64::MIN));
    Ok(ListCursor { key, n, at_ms: Some(at_ms), email: after.email.clone() })
}

/// The grants of `filter` after a place; at most `limit`.
pub(super) fn list_chunk(
    connection: &Connection,
    names: &FieldPaths,
    filter: &GrantFilter,
    after: &ListCursor,
    limit: u64,
) -> Result<Chunk, Failure> {
    let (sql, values) = match filter.order() {
        GrantOrder::Id => by_key(filter, after),
        GrantOrder::Email => by_email(filter, after),
        GrantOrder::Due => by_time(connection, filter, "due_ms", filter.due_by, after)?,
        GrantOrder::Expiry => by_time(connection, filter, "expires_ms", filter.expires_by, after)?,
    };
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(params_from_iter(values))?;
    let (mut chunk, mut looked_at, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        let view = decode::view(names, &table::decode(&row.get::<_, Vec<u8>>("body")?)?);
        looked_at += 1;
        last = Some(place(row)?);
        if filter.matches_view(&view) {
            chunk.push(view);
        }
        if chunk.len() as u64 == limit {
            return Ok((chunk, last));
        }
    }
    Ok((chunk, last.filter(|_| looked_at == CHUNK)))
}

/// Columns of a listing by a place that is no time.
const COLUMNS: &str = "n, key, NULL AS at_ms, email, body";

fn place(row: &Row<'_>) -> Result<ListCursor, Failure> {
    Ok(ListCursor {
        key: row.get("key")?,
        n: Some(row.get("n")?),
        at_ms: row.get("at_ms")?,
        email: row.get("email")?,
    })
}

/// Conditions and their values.
#[derive(Default)]
struct SqlConditions {
    sql: String,
    values: Vec<Value>,
}

impl SqlConditions {
    fn and(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.sql.push_str(if self.sql.is_empty() { "WHERE " } else { " AND " });
            self.sql.push_str(condition);
            self.values.push(value.into());
        }
    }
}

/// A plus sign keeps SQLite from an index that would have to be sorted again for each chunk. Of a
/// status and a provider the index is used that leaves less: few grants are not active.
fn by_key(filter: &GrantFilter, after: &ListCursor) -> (String, Vec<Value>) {
    let (provider, status) = (filter.provider.as_ref(), filter.status);
    let by_status =
        status.is_some_and(|status| status != GrantStatus::Active || provider.is_none());
    let by_user = filter.user.is_some();
    let by_email = !by_user && filter.email.is_some();
    let indexed = |name: &str, is_indexed: bool| {
        let plus = if is_indexed && !by_user && !by_email { "" } else { "+" };
        format!("{plus}{name} = ?")
    };
    let mut wanted = SqlConditions::default();
    wanted.and("user = ?", filter.user.clone());
    wanted.and(if by_email { "email = ?" } else { "+email = ?" }, filter.email.clone());
    wanted.and(&indexed("provider", !by_status), provider.map(ToString::to_string));
    wanted.and(&indexed("status", by_status), status.map(|status| status.as_str().to_owned()));
    wanted.and("key > ?", Some(after.key.clone()));
    let SqlConditions { sql, values } = wanted;
    (format!("SELECT {COLUMNS} FROM documents {sql} ORDER BY key LIMIT {CHUNK}"), values)
}

fn by_email(filter: &GrantFilter, after: &ListCursor) -> (String, Vec<Value>) {
    let prefix = filter.email_prefix.clone().unwrap_or_default();
    // Nothing that begins with the prefix is greater than the prefix and the last character.
    let beyond = format!("{prefix}{}", char::MAX);
    let email = after.email.clone().unwrap_or_else(|| prefix.clone());
    let mut wanted = SqlConditions::default();
    wanted.and("email >= ?", Some(prefix));
    wanted.and("email < ?", Some(beyond));
    wanted.and("+user = ?", filter.user.clone());
    wanted.and("+email = ?", filter.email.clone());
    wanted.and("+provider = ?", filter.provider.as_ref().map(ToString::to_string));
    wanted.and("+status = ?", filter.status.map(|status| status.as_str().to_owned()));
    wanted.and("(email, key) > (?,", Some(email));
    wanted.sql.push_str(" ?)");
    wanted.values.push(Value::from(after.key.clone()));
    let SqlConditions { sql, values } = wanted;
    (format!("SELECT {COLUMNS} FROM documents {sql} ORDER BY email, key LIMIT {CHUNK}"), values)
}

/// One stretch of the index of `column` for each provider, merged.
fn by_time(
    connection: &Connection,
    filter: &GrantFilter,
    column: &str,
    until: Option<Timestamp>,
    after: &ListCursor,
) -> Result<(String, Vec<Value>), Failure> {
    let providers = match &filter.provider {
        Some(provider) => vec![provider.to_string()],
        None => known_providers(connection)?,
    };
    let until_ms = until.map_or(i64::MAX, Timestamp::unix_ms);
    let (at_ms, n) = (after.at_ms.unwrap_or(i64::MIN), after.n.unwrap_or(i64::MIN));
    let columns = format!("n, key, {column} AS at_ms, email, body");
    let (mut stretches, mut values) = (Vec::new(), Vec::new());
    for provider in providers {
        let mut wanted = SqlConditions::default();
        wanted.and("provider = ?", Some(provider));
        let status = filter.status_wanted();
        wanted.and("status = ?", status.map(|status| status.as_str().to_owned()));
        wanted.and("+user = ?", filter.user.clone());
        wanted.and("+email = ?", filter.email.clone());
        wanted.and(&format!("{column} <= ?"), Some(until_ms));
        wanted.and(&format!("({column}, n) > (?,"), Some(at_ms));
        wanted.sql.push_str(" ?)");
        wanted.values.push(Value::from(n));
        stretches.push(format!(
            "SELECT * FROM (SELECT {columns} FROM documents {} ORDER BY {column}, n LIMIT {CHUNK})",
            wanted.sql
        ));
        values.extend(wanted.values);
    }
    if stretches.is_empty() {
        return Ok((format!("SELECT {COLUMNS} FROM documents WHERE false"), values));
    }
    let all = stretches.join(" UNION ALL ");
    Ok((format!("SELECT * FROM ({all}) ORDER BY at_ms, n LIMIT {CHUNK}"), values))
}

/// The providers that documents name, each found by one look into the index.
fn known_providers(connection: &Connection) -> Result<Vec<String>, Failure> {
    let next = "SELECT provider FROM documents WHERE provider > ?1 ORDER BY provider LIMIT 1";
    let mut next = connection.prepare_cached(next)?;
    let mut providers: Vec<String> = Vec::new();
    loop {
        let last = providers.last().map_or("", String::as_str);
        let found: Option<String> = next.query_row([last], |row| row.get(0)).optional()?;
        match found {
            Some(provider) => providers.push(provider),
            None => return Ok(providers),
        }
    }
}
