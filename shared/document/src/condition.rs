//! When a commit may be written to its document, and whether it was.

use bson::{Bson, Document};
use secrecy::ExposeSecret;

use super::document_update::{SETTLED_BY, int};
use super::field_paths::FieldPaths;
use super::numbers::number;
use super::paths::at;
use super::state::generation;
use evergrant_domain::DocumentWrite;
use evergrant_ports::Commit;

/// Whether the condition of a commit holds in its document: see [`Commit`].
pub fn may_be_written(names: &FieldPaths, document: &Document, commit: &Commit) -> bool {
    let text = |path: &str| at(document, path).and_then(Bson::as_str);
    let token = text(&names.fields.refresh_token);
    let same_token = commit.sent.as_ref().is_none_or(|sent| token == Some(sent.expose_secret()));
    let claimed = commit.expected_generation();
    // A document that has never been refreshed need not say so.
    let same_generation = match at(document, &names.path("generation")) {
        None => claimed.is_none_or(|claimed| claimed == 0),
        Some(found) => claimed.is_none_or(|claimed| number(found) == Some(int(claimed))),
    };
    let leased = text(&names.path("lease.owner")) == Some(commit.owner.as_str());
    same_token && same_generation && (leased || !needs_lease(commit))
}

/// New tokens need no lease: no others live.
pub fn needs_lease(commit: &Commit) -> bool {
    !matches!(commit.write, DocumentWrite::Refresh { .. }) || commit.sent.is_none()
}

/// Whether a commit has taken effect in its document before: its claim has settled the document last.
pub fn took_effect(names: &FieldPaths, document: &Document, commit: &Commit) -> bool {
    let settled_by = at(document, &names.path(SETTLED_BY)).and_then(Bson::as_str);
    let generation = generation(names, document);
    let written = match (&commit.write, commit.generation) {
        (_, None) => true,
        (DocumentWrite::Refresh { .. }, Some(claimed)) => generation == Some(claimed + 1),
        (_, Some(claimed)) => generation.unwrap_or_default() == claimed,
    };
    settled_by == Some(commit.owner.as_str()) && written
}
