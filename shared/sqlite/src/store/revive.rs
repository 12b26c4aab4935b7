//! Grants that have ended, or were put out of reach, and live again.

use std::sync::Arc;
use std::time::Duration;

use bson::Document;
use rusqlite::{Connection, params};

use super::super::failure::Failure;
use super::lease::now;
use super::{Inner, table};
use evergrant_document::decode;
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::transition::{self, DocumentTransition};
use evergrant_domain::{DocumentId, GrantStatus, LastError, ProviderId, Timestamp};
use evergrant_ports::{DueGrant, SweepPlace, SweepResult};

/// Grants that are looked at, and those among them made active, at once.
const BATCH: usize = 500;

/// Which grants that have ended are made active.
#[derive(Clone)]
enum RevivalFilter {
    /// Those that live again.
    LivesAgain,
    /// Those of a provider that were given up at this time or later and hold the token that died.
    NotBelieved(ProviderId, Timestamp),
}

impl RevivalFilter {
    /// What becomes of a document, if it is wanted.
    fn revival(&self, names: &FieldPaths, document: &Document) -> Option<DocumentTransition> {
        match self {
            Self::LivesAgain => transition::revive_signed_in(names, document),
            Self::NotBelieved(provider, since) => {
                transition::revive_disbelieved(names, document, provider, *since)
            }
        }
    }
}

/// A part of a sweep.
pub(super) async fn sweep(
    inner: &Arc<Inner>,
    after: Option<SweepPlace>,
    most: u32,
) -> Result<SweepResult, Failure> {
    let place = after.unwrap_or_else(SweepPlace::beginning);
    let (this, from) = (Arc::clone(inner), place.clone());
    let found =
        inner.database.read(move |connection| rows_after(connection, &this.names, &from, most));
    let (rows, last) = found.await?;
    let next = place.next(rows.len(), most, last);
    let revived = revive(inner, &rows, RevivalFilter::LivesAgain).await?;
    Ok(SweepResult { revived, next })
}

/// Makes active what was given up as dead since then.
pub(super) async fn revive_dead(
    inner: &Arc<Inner>,
    provider: &ProviderId,
    since: Timestamp,
) -> Result<u64, Failure> {
    let place = SweepPlace { status: GrantStatus::NeedsReauth, id: None };
    let this = Arc::clone(inner);
    let found = inner
        .database
        .read(move |connection| rows_after(connection, &this.names, &place, u32::MAX));
    revive(inner, &found.await?.0, RevivalFilter::NotBelieved(provider.clone(), since)).await
}

/// At most `most` rows after a place, of its status, in the order of their ids; and the last one's id.
fn rows_after(
    connection: &Connection,
    names: &FieldPaths,
    place: &SweepPlace,
    most: u32,
) -> Result<(Vec<i64>, Option<DocumentId>), Failure> {
    let after = place.id.as_ref().and_then(table::key_of).unwrap_or_default();
    let sql = "SELECT n FROM documents WHERE status = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map(params![place.status.as_str(), after, most], |row| row.get(0))?;
    let rows = rows.collect::<Result<Vec<i64>, _>>()?;
    // The last that can be read: those after it are looked at twice.
    let read = |n: &i64| table::find_row(connection, names, *n).ok().flatten();
    let last = rows.iter().rev().find_map(read);
    let last = last.map(|stored| decode::view(names, &stored.document).id);
    Ok((rows, last))
}

/// Looks at `rows`, and makes active those that are wanted.
async fn revive(inner: &Arc<Inner>, rows: &[i64], wanted: RevivalFilter) -> Result<u64, Failure> {
    let mut revived = 0;
    for batch in rows.chunks(BATCH).map(<[i64]>::to_vec) {
        let (this, which) = (Arc::clone(inner), wanted.clone());
        let live =
            inner.database.read(move |connection| live_of(connection, &this, &which, &batch));
        let live = live.await?;
        if !live.is_empty() {
            let (this, which) = (Arc::clone(inner), wanted.clone());
            let reviving = inner
                .database
                .write(move |connection| revive_all(connection, &this, &which, &live));
            revived += reviving.await?;
        }
    }
    Ok(revived)
}

/// Those of `rows` that are wanted.
fn live_of(
    connection: &Connection,
    inner: &Inner,
    wanted: &RevivalFilter,
    rows: &[i64],
) -> Result<Vec<i64>, Failure> {
    let mut live = Vec::new();
    for n in rows {
        match table::find_row(connection, &inner.names, *n) {
            Ok(Some(stored)) if wanted.revival(&inner.names, &stored.document).is_some() => {
                live.push(*n);
            }
            Ok(_) => {}
            Err(failure) if failure.is_final() => inner.tell_unreadable(*n),
            Err(failure) => return Err(failure),
        }
    }
    Ok(live)
}

fn revive_all(
    connection: &Connection,
    inner: &Inner,
    wanted: &RevivalFilter,
    rows: &[i64],
) -> Result<u64, Failure> {
    let now = now(connection)?;
    let mut revived = 0;
    for n in rows {
        let Some(mut stored) = table::find_row(connection, &inner.names, *n)? else { continue };
        // It may have changed since it was read.
        let revival = wanted.revival(&inner.names, &stored.document);
        if revival.is_some_and(|revival| revival.carry_out(&mut stored.document, now)) {
            // One that is too large keeps no other from it.
            revived += u64::from(table::update(connection, &inner.names, &stored).is_ok());
        }
    }
    Ok(revived)
}

/// Puts a document out of reach that still holds a token whose answer waits elsewhere.
pub(super) fn withhold(
    connection: &Connection,
    names: &FieldPaths,
    id: &DocumentId,
    spent: &str,
    last_error: &LastError,
) -> Result<bool, Failure> {
    let Some(mut stored) = table::find(connection, names, id)? else { return Ok(false) };
    let withheld = transition::withhold(names, &stored.document, spent, last_error);
    let now = now(connection)?;
    let is_withheld = withheld.is_some_and(|it| it.carry_out(&mut stored.document, now));
    if is_withheld {
        table::update(connection, names, &stored)?;
    }
    Ok(is_withheld)
}

/// Makes one grant active that has ended.
pub(super) fn reactivate(
    connection: &Connection,
    names: &FieldPaths,
    id: &DocumentId,
    queued: Duration,
) -> Result<Option<DueGrant>, Failure> {
    let Some(mut stored) = table::find(connection, names, id)? else { return Ok(None) };
    let reactivation = transition::reactivate(names, queued);
    if reactivation.carry_out(&mut stored.document, now(connection)?) {
        table::update(connection, names, &stored)?;
    }
    Ok(decode::active_grant(names, &stored.document))
}
