//! Leases: taking, giving back, prolonging, and the mark that a job is under way.

use std::time::Duration;

use bson::{Bson, doc};
use rusqlite::Connection;

use super::super::database::Database;
use super::super::failure::Failure;
use super::super::file::now_ms;
use super::super::process;
use super::paths::{set_over, unset};
use super::table::{self, Stored, over_ms};
use super::{Inner, first_tokens};

use evergrant_document::change::{SETTLED_BY, date};
use evergrant_document::decode;
use evergrant_document::names::Names;
use evergrant_document::paths::at;
use evergrant_domain::{DocumentId, Row, Status, Timestamp};
use evergrant_ports::Claimed;

pub(super) fn now(connection: &Connection) -> Result<Timestamp, Failure> {
    now_ms(connection).map(Timestamp::from_unix_ms)
}

/// Takes what is free and reads all.
pub(super) fn claim(
    connection: &Connection,
    inner: &Inner,
    ids: &[DocumentId],
    owner: &str,
    lease: Duration,
) -> Result<Claimed, Failure> {
    let Inner { names, database, .. } = inner;
    let now = now(connection)?;
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(mut stored) = table::find(connection, names, id)? else {
            rows.push(Row::Absent);
            continue;
        };
        let mine = holds(names, &stored, owner);
        let may_take = is_active(names, &stored) && !has_settled(names, &stored, owner);
        if may_take && (mine || is_free(names, &stored, now, database)?) {
            take(names, &mut stored, owner, now.plus(lease));
            table::update_lease(connection, &stored, database.process()?)?;
        }
        let row = decode::row(names, &stored.document, owner);
        rows.push(first_tokens::note(connection, names, id, row)?);
    }
    Ok(Claimed { now, rows })
}

/// Whether its lease is over, by the clock or because the process that has it is gone.
fn is_free(
    names: &Names,
    stored: &Stored,
    now: Timestamp,
    database: &Database,
) -> Result<bool, Failure> {
    let is_over = over_ms(at(&stored.document, &names.path("lease.until"))) <= now.unix_ms();
    let own = database.process()?;
    let other = stored.holder.as_deref().filter(|holder| *holder != own);
    Ok(is_over || other.is_some_and(|other| process::is_gone(database.path(), other)))
}

pub(super) fn is_active(names: &Names, stored: &Stored) -> bool {
    at(&stored.document, &names.path("status")).and_then(Bson::as_str)
        == Some(Status::Active.as_str())
}

/// Whether this claim has settled the document: a try of it that comes late takes nothing.
fn has_settled(names: &Names, stored: &Stored, owner: &str) -> bool {
    at(&stored.document, &names.path(SETTLED_BY)).and_then(Bson::as_str) == Some(owner)
}

fn take(names: &Names, stored: &mut Stored, owner: &str, until: Timestamp) {
    let taken_over = decode::taken_over(at(&stored.document, &names.path("lease")), owner);
    let lease = doc! { "owner": owner, "until": date(until), "taken_over": taken_over };
    set_over(&mut stored.document, &names.path("lease"), lease);
}

pub(super) fn holds(names: &Names, stored: &Stored, owner: &str) -> bool {
    at(&stored.document, &names.path("lease.owner")).and_then(Bson::as_str) == Some(owner)
}

/// Gives back what `owner` holds.
pub(super) fn release(
    connection: &Connection,
    names: &Names,
    ids: &[DocumentId],
    owner: &str,
) -> Result<(), Failure> {
    for id in ids {
        let Some(mut stored) = table::find(connection, names, id)? else { continue };
        if holds(names, &stored, owner) {
            unset(&mut stored.document, &names.path("lease"));
            table::update(connection, names, &stored)?;
        }
    }
    Ok(())
}

/// Prolongs what `owner` holds.
pub(super) fn renew(
    connection: &Connection,
    names: &Names,
    ids: &[DocumentId],
    owner: &str,
    lease: Duration,
) -> Result<(), Failure> {
    let until = date(now(connection)?.plus(lease));
    for id in ids {
        let Some(mut stored) = table::find(connection, names, id)? else { continue };
        if holds(names, &stored, owner) {
            set_over(&mut stored.document, &names.path("lease.until"), until);
            table::update(connection, names, &stored)?;
        }
    }
    Ok(())
}

/// Notes that a job is under way for what is still due: a worker may have been faster than this mark.
pub(super) fn mark_queued(
    connection: &Connection,
    names: &Names,
    ids: &[DocumentId],
    duration: Duration,
) -> Result<(), Failure> {
    let now = now(connection)?;
    let until = date(now.plus(duration));
    for id in ids {
        let Some(mut stored) = table::find(connection, names, id)? else { continue };
        let due = over_ms(at(&stored.document, &names.path("next_refresh_at"))) <= now.unix_ms();
        if due && is_active(names, &stored) {
            set_over(&mut stored.document, &names.path("queued_until"), until);
            table::update(connection, names, &stored)?;
        }
    }
    Ok(())
}
