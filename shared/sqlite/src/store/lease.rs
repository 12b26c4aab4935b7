//! Leases, as workers take and give them back, and the outcomes of exchanges.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;

use super::super::database::Database;
use super::super::failure::Failure;
use super::super::file::now_ms;
use super::super::process;
use super::table::{self, StoredDocument};
use super::{Inner, SqliteStore, first_tokens, revive};

use evergrant_document::decode;
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::transition::{self, DocumentTransition, LeaseEnd};
use evergrant_domain::{ClaimedDocument, DocumentId, LastError, ProviderId, Timestamp};
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
        self.write("commit", move |connection, inner| commit(connection, &inner.names, &commits))
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
        let release = transition::release(&self.0.names, owner);
        self.carry_out("release", ids, release).await
    }

    async fn renew(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let renew = transition::renew(&self.0.names, owner, lease);
        self.carry_out("renew", ids, renew).await
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

impl SqliteStore {
    /// Carries out a transition of each of these documents, on its condition.
    pub(super) async fn carry_out(
        &self,
        operation: &'static str,
        ids: &[DocumentId],
        transition: DocumentTransition,
    ) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.write(operation, move |connection, inner| {
            let now = now(connection)?;
            for id in &ids {
                let found = table::find(connection, &inner.names, id)?;
                let Some(mut stored) = found else { continue };
                if transition.carry_out(&mut stored.document, now) {
                    table::update(connection, &inner.names, &stored)?;
                }
            }
            Ok(())
        })
        .await
    }
}

pub(super) fn now(connection: &Connection) -> Result<Timestamp, Failure> {
    now_ms(connection).map(Timestamp::from_unix_ms)
}

/// Takes what is free and reads all.
fn claim(
    connection: &Connection,
    inner: &Inner,
    ids: &[DocumentId],
    owner: &str,
    lease: Duration,
) -> Result<ClaimResult, Failure> {
    let Inner { names, database, .. } = inner;
    let now = now(connection)?;
    let claim = transition::claim(names, owner, lease, LeaseEnd::ByClock);
    let inherit = transition::claim(names, owner, lease, LeaseEnd::HolderGone);
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(mut stored) = table::find(connection, names, id)? else {
            rows.push(ClaimedDocument::Absent);
            continue;
        };
        if claim.carry_out(&mut stored.document, now)
            || is_holder_gone(&stored, database)? && inherit.carry_out(&mut stored.document, now)
        {
            table::update_lease(connection, &stored, database.process()?)?;
        }
        let row = decode::row(names, &stored.document, owner);
        rows.push(first_tokens::note(connection, names, id, row)?);
    }
    Ok(ClaimResult { now, rows })
}

/// Whether the process that took the lease last is another one, and gone.
fn is_holder_gone(stored: &StoredDocument, database: &Database) -> Result<bool, Failure> {
    let own = database.process()?;
    let other = stored.holder.as_deref().filter(|holder| *holder != own);
    Ok(other.is_some_and(|other| process::is_gone(database.path(), other)))
}

/// Writes what holds, and tells of the rest that its document has moved on.
fn commit(
    connection: &Connection,
    names: &FieldPaths,
    commits: &[Commit],
) -> Result<Vec<CommitResult>, Failure> {
    let one = |commit: &Commit| {
        let Some(mut stored) = table::find(connection, names, &commit.id)? else {
            return Ok(CommitResult::Superseded);
        };
        let effect = transition::commit(names, &mut stored.document, commit).map_err(|_| {
            Failure::refused(
                "a field of store.fields leads through something in the document that is no \
                 sub-document",
            )
        })?;
        if effect.has_changed {
            table::update(connection, names, &stored)?;
        }
        Ok(effect.result)
    };
    commits.iter().map(one).collect()
}
