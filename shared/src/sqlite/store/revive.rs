//! Grants that were given up, or put out of reach, and live again.

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document};
use rusqlite::Connection;
use secrecy::SecretString;

use super::super::failure::Failure;
use super::lease::now;
use super::paths::{self, set_over, unset};
use super::table::Stored;
use super::{Inner, table};
use crate::domain::grant::fingerprint;
use crate::domain::{DocumentId, LastError, ProviderId, Status, Timestamp};
use crate::mongo::change::{FORGOTTEN, date, holds_token, withheld};
use crate::mongo::decode;
use crate::mongo::names::{Names, at};
use crate::ports::DueGrant;

/// Grants that are looked at, and those among them made active, at once.
const BATCH: usize = 500;

/// Which dead grants live again.
#[derive(Clone)]
pub(super) enum Dead {
    /// Those with another token than the one that died.
    SignedIn,
    /// Those of a provider that were given up at this time or later and hold the token that died.
    NotBelieved(ProviderId, Timestamp),
}

impl Dead {
    fn lives(&self, names: &Names, document: &Document) -> bool {
        let token = at(document, &names.fields.refresh_token).and_then(Bson::as_str);
        let died_of = at(document, &names.path("dead_fingerprint")).and_then(Bson::as_str);
        let (Some(token), Some(died_of)) = (token.filter(|token| !token.is_empty()), died_of)
        else {
            return false;
        };
        let same = died_of == fingerprint(&SecretString::from(token));
        match self {
            Self::SignedIn => !same,
            Self::NotBelieved(provider, since) => {
                let view = decode::view(names, document);
                let died_at = view.last_error.map(|error| error.at);
                same && view.provider.as_ref() == Some(provider)
                    && died_at.is_some_and(|at| at >= *since)
            }
        }
    }
}

/// Reads every grant that needs sign-in, and makes active those that live.
pub(super) async fn revive(inner: &Arc<Inner>, dead: Dead) -> Result<u64, Failure> {
    let mut revived = 0;
    let rows = inner.database.read(rows_that_need_sign_in).await?;
    for batch in rows.chunks(BATCH).map(<[i64]>::to_vec) {
        let (this, wanted) = (Arc::clone(inner), dead.clone());
        let alive =
            inner.database.read(move |connection| alive_of(connection, &this, &wanted, &batch));
        let alive = alive.await?;
        if !alive.is_empty() {
            let (this, wanted) = (Arc::clone(inner), dead.clone());
            let reviving = inner
                .database
                .write(move |connection| revive_all(connection, &this, &wanted, &alive));
            revived += reviving.await?;
        }
    }
    Ok(revived)
}

fn rows_that_need_sign_in(connection: &Connection) -> Result<Vec<i64>, Failure> {
    let mut select = connection.prepare_cached("SELECT n FROM documents WHERE status = ?1")?;
    let rows = select.query_map([Status::NeedsReauth.as_str()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those of `rows` that live.
fn alive_of(
    connection: &Connection,
    inner: &Inner,
    dead: &Dead,
    rows: &[i64],
) -> Result<Vec<i64>, Failure> {
    let mut alive = Vec::new();
    for n in rows {
        let stored = table::find_row(connection, &inner.names, *n)?;
        if stored.is_some_and(|stored| dead.lives(&inner.names, &stored.document)) {
            alive.push(*n);
        }
    }
    Ok(alive)
}

fn revive_all(
    connection: &Connection,
    inner: &Inner,
    dead: &Dead,
    rows: &[i64],
) -> Result<u64, Failure> {
    let now = now(connection)?;
    let mut revived = 0;
    for n in rows {
        let Some(mut stored) = table::find_row(connection, &inner.names, *n)? else { continue };
        // It may have changed since it was read.
        let status = decode::view(&inner.names, &stored.document).status;
        if status == Some(Status::NeedsReauth) && dead.lives(&inner.names, &stored.document) {
            make_active(&inner.names, &mut stored, now);
            unset(&mut stored.document, &inner.names.path("queued_until"));
            table::update(connection, &inner.names, &stored)?;
            revived += 1;
        }
    }
    Ok(revived)
}

fn make_active(names: &Names, stored: &mut Stored, now: Timestamp) {
    let mut set =
        |part: &str, value: Bson| set_over(&mut stored.document, &names.path(part), value);
    set("status", Status::Active.as_str().into());
    set("attempts", 0_i32.into());
    set("next_refresh_at", date(now).into());
    for part in FORGOTTEN {
        unset(&mut stored.document, &names.path(part));
    }
}

/// Puts a document out of reach that still holds a token whose answer waits elsewhere.
pub(super) fn withhold(
    connection: &Connection,
    names: &Names,
    id: &DocumentId,
    spent: &str,
    last_error: &LastError,
) -> Result<bool, Failure> {
    let found = table::find(connection, names, id)?;
    let found = found.filter(|stored| holds_token(names, &stored.document, spent));
    let Some(mut stored) = found else { return Ok(false) };
    paths::apply(&mut stored.document, withheld(names, spent, last_error)).map_err(|_| {
        Failure::refused("store.state_field leads through something that is no sub-document")
    })?;
    table::update(connection, names, &stored)?;
    Ok(true)
}

/// Makes one grant active that needs sign-in or failed. One that is paused is left alone: only who
/// paused it should wake it.
pub(super) fn reactivate(
    connection: &Connection,
    inner: &Inner,
    id: &DocumentId,
    queued: Duration,
) -> Result<Option<DueGrant>, Failure> {
    let names = &inner.names;
    let Some(mut stored) = table::find(connection, names, id)? else { return Ok(None) };
    let status = decode::view(names, &stored.document).status;
    if matches!(status, Some(Status::NeedsReauth | Status::Failed)) {
        let now = now(connection)?;
        make_active(names, &mut stored, now);
        let until = date(now.plus(queued));
        set_over(&mut stored.document, &names.path("queued_until"), until);
        table::update(connection, names, &stored)?;
    }
    let view = decode::view(names, &stored.document);
    let (Some(Status::Active), Some(provider)) = (view.status, view.provider) else {
        return Ok(None);
    };
    Ok(Some(DueGrant {
        id: view.id,
        provider,
        generation: view.generation,
        next_refresh_at: view.next_refresh_at.unwrap_or_default(),
    }))
}
