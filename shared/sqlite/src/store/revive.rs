//! Grants that have ended, or were put out of reach, and live again.

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document};
use rusqlite::{Connection, params};

use super::super::failure::Failure;
use super::lease::now;
use super::paths::{self, set_over, unset};
use super::table::StoredDocument;
use super::{Inner, table};
use evergrant_document::decode;
use evergrant_document::document_update::{
    DocumentUpdate, FORGOTTEN, OF_A_DEATH, OF_AN_END, OF_THE_OLD_GRANT, date, holds_token,
};
use evergrant_document::field_paths::FieldPaths;
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
    fn has(&self, names: &FieldPaths, document: &Document) -> bool {
        let Some(ended) = decode::ended(names, document) else { return false };
        match self {
            Self::LivesAgain => ended.lives_again(),
            Self::NotBelieved(provider, since) => {
                let view = decode::view(names, document);
                let died_at = view.last_error.map(|error| error.at);
                ended.status == GrantStatus::NeedsReauth
                    && ended.holds_what_ended()
                    && view.provider.as_ref() == Some(provider)
                    && died_at.is_some_and(|at| at >= *since)
            }
        }
    }

    fn forgotten(&self) -> Vec<&'static str> {
        match self {
            Self::LivesAgain => FORGOTTEN.into_iter().chain(OF_THE_OLD_GRANT).collect(),
            Self::NotBelieved(..) => OF_A_DEATH.to_vec(),
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
            Ok(Some(stored)) if wanted.has(&inner.names, &stored.document) => live.push(*n),
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
        if wanted.has(&inner.names, &stored.document) {
            make_active(&inner.names, &mut stored, now, &wanted.forgotten());
            // One that is too large keeps no other from it.
            revived += u64::from(table::update(connection, &inner.names, &stored).is_ok());
        }
    }
    Ok(revived)
}

/// Active and due, with `forgotten` forgotten.
fn make_active(
    names: &FieldPaths,
    stored: &mut StoredDocument,
    now: Timestamp,
    forgotten: &[&str],
) {
    let mut set =
        |part: &str, value: Bson| set_over(&mut stored.document, &names.path(part), value);
    set("status", GrantStatus::Active.as_str().into());
    set("attempts", 0_i32.into());
    set("next_refresh_at", date(now).into());
    for part in forgotten {
        unset(&mut stored.document, &names.path(part));
    }
}

/// Puts a document out of reach that still holds a token whose answer waits elsewhere.
pub(super) fn withhold(
    connection: &Connection,
    names: &FieldPaths,
    id: &DocumentId,
    spent: &str,
    last_error: &LastError,
) -> Result<bool, Failure> {
    let found = table::find(connection, names, id)?;
    let found = found.filter(|stored| holds_token(names, &stored.document, spent));
    let Some(mut stored) = found else { return Ok(false) };
    let change = DocumentUpdate::withheld(names, spent, last_error, &stored.document).operators();
    paths::apply(&mut stored.document, change).map_err(|_| {
        Failure::refused("store.state_field leads through something that is no sub-document")
    })?;
    table::update(connection, names, &stored)?;
    Ok(true)
}

/// Makes one grant active that has ended. One that is paused is left alone: only who paused it should
/// wake it.
pub(super) fn reactivate(
    connection: &Connection,
    inner: &Inner,
    id: &DocumentId,
    queued: Duration,
) -> Result<Option<DueGrant>, Failure> {
    let names = &inner.names;
    let Some(mut stored) = table::find(connection, names, id)? else { return Ok(None) };
    let status = decode::view(names, &stored.document).status;
    if status.is_some_and(|status| SweepPlace::ENDED.contains(&status)) {
        let now = now(connection)?;
        make_active(names, &mut stored, now, &OF_AN_END);
        let until = date(now.plus(queued));
        set_over(&mut stored.document, &names.path("queued_until"), until);
        table::update(connection, names, &stored)?;
    }
    let view = decode::view(names, &stored.document);
    let (Some(GrantStatus::Active), Some(provider)) = (view.status, view.provider) else {
        return Ok(None);
    };
    Ok(Some(DueGrant {
        id: view.id,
        provider,
        generation: view.generation,
        next_refresh_at: view.next_refresh_at.unwrap_or_default(),
    }))
}
