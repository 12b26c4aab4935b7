//! Adoption: documents without a state get one.

use std::sync::Arc;

use bson::{Bson, Document};
use rusqlite::Connection;

use super::super::failure::Failure;
use super::lease::now;
use super::paths::set_over;
use super::{Inner, table};
use crate::domain::ProviderId;
use crate::mongo::change::date;
use crate::mongo::decode::adopted_as;
use crate::mongo::names::at;

/// Documents in one transaction, so that others get their turn.
const BATCH: usize = 1_000;

/// A batch's outcome.
struct Adopted {
    documents: u64,
    /// The last row that was looked at; None after the end.
    last: Option<i64>,
    /// Documents that name no provider and were left.
    orphans: bool,
}

pub(super) async fn adopt(inner: &Arc<Inner>) -> Result<u64, Failure> {
    let (mut adopted, mut orphans) = (0, false);
    // Usually there is none, and to know that needs no write.
    let mut next = inner.database.read(|connection| first_unadopted(connection, 0)).await?;
    while let Some(from) = next {
        let this = Arc::clone(inner);
        let batch = inner.database.write(move |connection| adopt_batch(connection, &this, from));
        let batch = batch.await?;
        adopted += batch.documents;
        orphans |= batch.orphans;
        next = batch.last.map(|last| last + 1);
    }
    let somebody_tells =
        inner.settings.default_provider.is_some() || inner.settings.provider_field.is_some();
    if orphans && !somebody_tells {
        return Err(Failure::refused(
            "there are documents that name no provider: set store.default_provider, or \
             store.provider_field if a field of the documents names it",
        ));
    }
    Ok(adopted)
}

fn first_unadopted(connection: &Connection, from: i64) -> Result<Option<i64>, Failure> {
    let sql = "SELECT min(n) FROM documents WHERE status IS NULL AND n >= ?1";
    Ok(connection.prepare_cached(sql)?.query_row([from], |row| row.get(0))?)
}

fn adopt_batch(connection: &Connection, inner: &Inner, from: i64) -> Result<Adopted, Failure> {
    let names = &inner.names;
    let now = now(connection)?;
    let sql = "SELECT n FROM documents WHERE status IS NULL AND n >= ?1 ORDER BY n LIMIT ?2";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map((from, BATCH), |row| row.get(0))?;
    let rows = rows.collect::<Result<Vec<i64>, _>>()?;
    let mut adopted = Adopted { documents: 0, last: rows.last().copied(), orphans: false };
    for n in rows {
        let Some(mut stored) = table::find_row(connection, names, n)? else { continue };
        let Some(provider) = provider_of(inner, &stored.document) else {
            adopted.orphans = true;
            continue;
        };
        let status = adopted_as(names, &stored.document);
        let mut set = |part: &str, value: Bson| {
            set_over(&mut stored.document, &names.path(part), value);
        };
        set("provider", provider.into());
        set("status", status.as_str().into());
        set("generation", 0_i64.into());
        set("attempts", 0_i32.into());
        set("next_refresh_at", date(now).into());
        table::update(connection, names, &stored)?;
        adopted.documents += 1;
    }
    Ok(adopted)
}

/// Whom a document belongs to: as it says in the state, in the application's field, or by default.
fn provider_of(inner: &Inner, document: &Document) -> Option<String> {
    let named = |path: &str| {
        let name = at(document, path).and_then(Bson::as_str)?;
        name.parse::<ProviderId>().is_ok().then(|| name.to_owned())
    };
    let settings = &inner.settings;
    named(&inner.names.path("provider"))
        .or_else(|| settings.provider_field.as_deref().and_then(named))
        .or_else(|| settings.default_provider.as_ref().map(ToString::to_string))
}
