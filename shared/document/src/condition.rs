//! When a commit may be written to its document, and whether it was.

use bson::{Bson, Document};
use secrecy::ExposeSecret;

use super::document_update::{SETTLED_BY, int};
use super::field_paths::FieldPaths;
use super::paths::at;
use super::state::generation;
use super::transition::DocumentCondition;
use evergrant_domain::{DocumentWrite, Timestamp};
use evergrant_ports::Commit;

/// What must hold of the document of a commit: see [`Commit`].
pub fn condition(names: &FieldPaths, commit: &Commit) -> Vec<DocumentCondition> {
    let sent = commit
        .sent
        .as_ref()
        .map(|sent| DocumentCondition::is(&names.fields.refresh_token, sent.expose_secret()));
    let generation = commit.expected_generation().map(|claimed| {
        let mut values = vec![Bson::from(int(claimed))];
        // A document that has never been refreshed need not say so.
        values.extend((claimed == 0).then_some(Bson::Null));
        DocumentCondition::OneOf(names.path("generation"), values)
    });
    let lease = needs_lease(commit)
        .then(|| DocumentCondition::is(names.path("lease.owner"), commit.owner.as_str()));
    sent.into_iter().chain(generation).chain(lease).collect()
}

/// Whether the condition of a commit holds in its document.
pub fn may_be_written(names: &FieldPaths, document: &Document, commit: &Commit) -> bool {
    // None of it is about the time.
    let holds = |condition: DocumentCondition| condition.holds(document, Timestamp::default());
    condition(names, commit).into_iter().all(holds)
}

/// New tokens need no lease: no others live.
fn needs_lease(commit: &Commit) -> bool {
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
