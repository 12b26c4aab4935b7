//! Outcomes of exchanges, written each on its condition.

use bson::Bson;
use rusqlite::Connection;
use secrecy::ExposeSecret;

use super::super::failure::Failure;
use super::lease::holds;
use super::paths::{self, unset};
use super::table::{self, Stored};
use crate::domain::{Status, Write};
use crate::mongo::change::{SETTLED_BY, but_paused, change};
use crate::mongo::commit::took_effect;
use crate::mongo::names::{Names, at};
use crate::mongo::numbers::number;
use crate::ports::{Commit, Committed};

/// Writes what holds, and tells of the rest that its document has moved on.
pub(super) fn commit(
    connection: &Connection,
    names: &Names,
    commits: &[Commit],
) -> Result<Vec<Committed>, Failure> {
    commits.iter().map(|commit| commit_one(connection, names, commit)).collect()
}

fn commit_one(
    connection: &Connection,
    names: &Names,
    commit: &Commit,
) -> Result<Committed, Failure> {
    let Some(mut stored) = table::find(connection, names, &commit.id)? else {
        return Ok(Committed::Superseded);
    };
    if may_be_written(names, &stored, commit) {
        let status = at(&stored.document, &names.path("status")).and_then(Bson::as_str);
        let is_paused = status == Some(Status::Paused.as_str());
        let mut change = change(names, commit);
        if is_paused && matches!(commit.write, Write::Refresh { .. }) {
            change = but_paused(names, change);
        }
        paths::apply(&mut stored.document, change).map_err(|_| {
            Failure::refused(
                "a field of store.fields leads through something in the document that is no \
                 sub-document",
            )
        })?;
        table::update(connection, names, &stored)?;
        return Ok(Committed::Applied);
    }
    let settled_by = at(&stored.document, &names.path(SETTLED_BY)).and_then(Bson::as_str);
    if took_effect(commit, settled_by, generation(names, &stored)) {
        return Ok(Committed::Applied);
    }
    // A document that has moved on is of no more use to the claim, and its job is done with.
    if holds(names, &stored, &commit.owner) {
        unset(&mut stored.document, &names.path("lease"));
        unset(&mut stored.document, &names.path("queued_until"));
        table::update(connection, names, &stored)?;
    }
    Ok(Committed::Superseded)
}

/// What must hold for a commit to be written: see [`Commit`].
fn may_be_written(names: &Names, stored: &Stored, commit: &Commit) -> bool {
    let token = at(&stored.document, &names.fields.refresh_token).and_then(Bson::as_str);
    let same_token = commit.sent.as_ref().is_none_or(|sent| token == Some(sent.expose_secret()));
    let generation = at(&stored.document, &names.path("generation"));
    let same_generation = commit.expected_generation().is_none_or(|claimed| match generation {
        // A document that has never been refreshed need not say so.
        None => claimed == 0,
        Some(found) => number(found) == i64::try_from(claimed).ok(),
    });
    // New tokens need no lease: no others live.
    let needs_lease = !matches!(commit.write, Write::Refresh { .. }) || commit.sent.is_none();
    let may_write = !needs_lease || holds(names, stored, &commit.owner);
    same_token && same_generation && may_write
}

fn generation(names: &Names, stored: &Stored) -> Option<u64> {
    let generation = at(&stored.document, &names.path("generation")).and_then(number);
    generation.and_then(|generation| u64::try_from(generation).ok())
}
