//! The outcome of an exchange is written on its condition.

use bson::Document;

use super::release_superseded;
use crate::condition::{may_be_written, took_effect};
use crate::document_update::DocumentUpdate;
use crate::field_paths::FieldPaths;
use crate::paths::{NotViable, apply};
use evergrant_domain::Timestamp;
use evergrant_ports::{Commit, CommitResult};

/// What a commit did to its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitEffect {
    /// What became of the commit.
    pub result: CommitResult,
    /// Whether the document has changed.
    pub has_changed: bool,
}

/// Writes a commit into its document; or, if that has moved on, gives the claim's lease back.
///
/// # Errors
/// If a path to a token leads through something that is no sub-document.
pub fn commit(
    names: &FieldPaths,
    document: &mut Document,
    commit: &Commit,
) -> Result<CommitEffect, NotViable> {
    if may_be_written(names, document, commit) {
        let update = DocumentUpdate::from_commit(names, commit, document).operators();
        apply(document, update)?;
        return Ok(CommitEffect { result: CommitResult::Applied, has_changed: true });
    }
    if took_effect(names, document, commit) {
        return Ok(CommitEffect { result: CommitResult::Applied, has_changed: false });
    }
    // No clock is asked.
    let release = release_superseded(names, &commit.owner);
    let has_changed = release.carry_out(document, Timestamp::default());
    Ok(CommitEffect { result: CommitResult::Superseded, has_changed })
}
