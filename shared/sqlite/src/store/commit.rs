//! Outcomes of exchanges, written each on its condition.

use rusqlite::Connection;

use super::super::failure::Failure;
use super::lease::holds;
use super::paths::{self, unset};
use super::table;
use evergrant_document::condition::{may_be_written, took_effect};
use evergrant_document::document_update::DocumentUpdate;
use evergrant_document::field_paths::FieldPaths;
use evergrant_ports::{Commit, CommitResult};

/// Writes what holds, and tells of the rest that its document has moved on.
pub(super) fn commit(
    connection: &Connection,
    names: &FieldPaths,
    commits: &[Commit],
) -> Result<Vec<CommitResult>, Failure> {
    commits.iter().map(|commit| commit_one(connection, names, commit)).collect()
}

fn commit_one(
    connection: &Connection,
    names: &FieldPaths,
    commit: &Commit,
) -> Result<CommitResult, Failure> {
    let Some(mut stored) = table::find(connection, names, &commit.id)? else {
        return Ok(CommitResult::Superseded);
    };
    if may_be_written(names, &stored.document, commit) {
        let change = DocumentUpdate::from_commit(names, commit, &stored.document).operators();
        paths::apply(&mut stored.document, change).map_err(|_| {
            Failure::refused(
                "a field of store.fields leads through something in the document that is no \
                 sub-document",
            )
        })?;
        table::update(connection, names, &stored)?;
        return Ok(CommitResult::Applied);
    }
    if took_effect(names, &stored.document, commit) {
        return Ok(CommitResult::Applied);
    }
    // A document that has moved on is of no more use to the claim, and its job is done with.
    if holds(names, &stored, &commit.owner) {
        unset(&mut stored.document, &names.path("lease"));
        unset(&mut stored.document, &names.path("queued_until"));
        table::update(connection, names, &stored)?;
    }
    Ok(CommitResult::Superseded)
}
