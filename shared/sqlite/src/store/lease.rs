//! Leases: taking, giving back, prolonging, and the mark that a job is under way.

use std::time::Duration;

use async_trait::async_trait;
use bson::{Bson, doc};
use rusqlite::Connection;

use super::super::database::Database;
use super::super::failure::Failure;
use super::super::file::now_ms;
use super::super::process;
use super::paths::{set_over, unset};
use super::table::{self, StoredDocument, over_ms};
use super::{Inner, SqliteStore, commit, first_tokens, revive};

use evergrant_document::decode;
use evergrant_document::document_update::{SETTLED_BY, date};
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::paths::at;
use evergrant_domain::{
    ClaimedDocument, DocumentId, GrantStatus, LastError, ProviderId, Timestamp,
};
use evergrant_ports::{ClaimResult, Commit, CommitResult, LeaseStore, StoreError};

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn claim(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<ClaimResult, StoreError> {
        let (ids, owner) = (ids.to_vec(), owner.to_owned());
        self.write("claim", move |connection, inner| claim(connection, inner, &ids, &owner, lease))
            .await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitResult>, StoreError> {
        let commits = commits.to_vec();
        self.write("commit", move |connection, inner| {
            commit::commit(connection, &inner.names, &commits)
        })
        .await
    }

    async fn withhold(
        &self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> Result<bool, StoreError> {
        let (id, spent, last_error) = (id.clone(), spent.to_owned(), last_error.clone());
        self.write("withhold", move |connection, inner| {
            revive::withhold(connection, &inner.names, &id, &spent, &last_error)
        })
        .await
    }

    async fn release(&self, ids: &[DocumentId], owner: &str) -> Result<(), StoreError> {
        let (ids, owner) = (ids.to_vec(), owner.to_owned());
        self.write("release", move |connection, inner| {
            release(connection, &inner.names, &ids, &owner)
        })
        .await
    }

    async fn renew(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let (ids, owner) = (ids.to_vec(), owner.to_owned());
        self.write("renew", move |connection, inner| {
            renew(connection, &inner.names, &ids, &owner, lease)
        })
        .await
    }

    async fn revive_dead(
        &self,
        provider: &ProviderId,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let revived = revive::revive_dead(&self.0, provider, since).await;
        revived.map_err(|failure| failure.in_store("revive_dead"))
    }
}

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
) -> Result<ClaimResult, Failure> {
    let Inner { names, database, .. } = inner;
    let now = now(connection)?;
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(mut stored) = table::find(connection, names, id)? else {
            rows.push(ClaimedDocument::Absent);
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
    Ok(ClaimResult { now, rows })
}

/// Whether its lease is over, by the clock or because the process that has it is gone.
fn is_free(
    names: &FieldPaths,
    stored: &StoredDocument,
    now: Timestamp,
    database: &Database,
) -> Result<bool, Failure> {
    let is_over = over_ms(at(&stored.document, &names.path("lease.until"))) <= now.unix_ms();
    let own = database.process()?;
    let other = stored.holder.as_deref().filter(|holder| *holder != own);
    Ok(is_over || other.is_some_and(|other| process::is_gone(database.path(), other)))
}

pub(super) fn is_active(names: &FieldPaths, stored: &StoredDocument) -> bool {
    at(&stored.document, &names.path("status")).and_then(Bson::as_str)
        == Some(GrantStatus::Active.as_str())
}

/// Whether this claim has settled the document: a try of it that comes late takes nothing.
fn has_settled(names: &FieldPaths, stored: &StoredDocument, owner: &str) -> bool {
    at(&stored.document, &names.path(SETTLED_BY)).and_then(Bson::as_str) == Some(owner)
}

fn take(names: &FieldPaths, stored: &mut StoredDocument, owner: &str, until: Timestamp) {
    let taken_over = decode::taken_over(at(&stored.document, &names.path("lease")), owner);
    let lease = doc! { "owner": owner, "until": date(until), "taken_over": taken_over };
    set_over(&mut stored.document, &names.path("lease"), lease);
}

pub(super) fn holds(names: &FieldPaths, stored: &StoredDocument, owner: &str) -> bool {
    at(&stored.document, &names.path("lease.owner")).and_then(Bson::as_str) == Some(owner)
}

/// Gives back what `owner` holds.
pub(super) fn release(
    connection: &Connection,
    names: &FieldPaths,
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
    names: &FieldPaths,
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
    names: &FieldPaths,
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
