//! Outcomes of exchanges, written each on its condition.

use bson::Document;

use super::documents::{Documents, is_text, put, take_away};
use evergrant_document::condition::{may_be_written, took_effect};
use evergrant_document::document_update::DocumentUpdate;
use evergrant_ports::{Commit, CommitResult};

impl Documents {
    pub(super) fn commit(&mut self, commit: &Commit) -> CommitResult {
        let names = &self.names;
        let Some(document) = self.get(&commit.id) else { return CommitResult::Superseded };
        let written = may_be_written(names, document, commit)
            .then(|| DocumentUpdate::from_commit(names, commit, document).operators());
        let took_effect = took_effect(names, document, commit);
        let Some(document) = self.get_mut(&commit.id) else { return CommitResult::Superseded };
        match written {
            Some(change) => apply(document, &change),
            None if took_effect => {}
            None => {
                // A document that has moved on is of no more use to the claim, and its job is done with.
                if is_text(document, "evergrant.lease.owner", &commit.owner) {
                    take_away(document, "evergrant.lease");
                    take_away(document, "evergrant.queued_until");
                }
                return CommitResult::Superseded;
            }
        }
        CommitResult::Applied
    }
}

/// Carries out the operators `$set` and `$unset`.
pub(super) fn apply(document: &mut Document, change: &Document) {
    let part = |operator| change.get_document(operator).into_iter().flatten();
    for (path, value) in part("$set") {
        put(document, path, value.clone());
    }
    for (path, _) in part("$unset") {
        take_away(document, path);
    }
}
