//! Outcomes of exchanges, written each on its condition.

use mongodb::bson::{Bson, Document};
use secrecy::ExposeSecret;

use super::documents::{Documents, is_text, put, take_away};
use crate::domain::{Status, Write};
use crate::mongo::change::{SETTLED_BY, but_paused, change};
use crate::mongo::commit::took_effect;
use crate::mongo::names::at;
use crate::mongo::numbers::number;
use crate::ports::{Commit, Committed};

impl Documents {
    pub(super) fn commit(&mut self, commit: &Commit) -> Committed {
        let mut change = change(&self.names, commit);
        let token_field = self.names.fields.refresh_token.clone();
        let is_paused = |document| is_text(document, "evergrant.status", Status::Paused.as_str());
        if matches!(commit.write, Write::Refresh { .. })
            && self.get(&commit.id).is_some_and(is_paused)
        {
            change = but_paused(&self.names, change);
        }
        let Some(document) = self.get_mut(&commit.id) else { return Committed::Superseded };
        if allows(document, commit, &token_field) {
            apply(document, &change);
            return Committed::Applied;
        }
        let owner = at(document, &format!("evergrant.{SETTLED_BY}")).and_then(Bson::as_str);
        if took_effect(commit, owner, generation(document)) {
            return Committed::Applied;
        }
        // A document that has moved on is of no more use to the claim, and its job is done with.
        if is_text(document, "evergrant.lease.owner", &commit.owner) {
            take_away(document, "evergrant.lease");
            take_away(document, "evergrant.queued_until");
        }
        Committed::Superseded
    }
}

/// Whether the condition of a commit holds: see [`Commit`].
fn allows(document: &Document, commit: &Commit, token_field: &str) -> bool {
    let sent = commit.sent.as_ref();
    let holds_token = sent.is_none_or(|sent| is_text(document, token_field, sent.expose_secret()));
    // A document that has never been refreshed need not say so.
    let at_generation = commit
        .expected_generation()
        .is_none_or(|claimed| generation(document).unwrap_or_default() == claimed);
    let is_refresh = matches!(commit.write, Write::Refresh { .. }) && sent.is_some();
    let leased = is_refresh || is_text(document, "evergrant.lease.owner", &commit.owner);
    holds_token && at_generation && leased
}

fn generation(document: &Document) -> Option<u64> {
    let number = at(document, "evergrant.generation").and_then(number)?;
    u64::try_from(number).ok()
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
