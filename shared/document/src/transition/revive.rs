//! Grants that have ended and live again.

use std::time::Duration;

use bson::{Bson, Document};

use super::{DocumentCondition, DocumentTransition, NewValue};
use crate::decode;
use crate::document_update::{FORGOTTEN, OF_THE_OLD_GRANT};
use crate::field_paths::FieldPaths;
use crate::paths::at;
use evergrant_domain::{EndedDocument, GrantStatus, ProviderId, Timestamp};
use evergrant_ports::SweepPlace;

/// What a death that is not believed any more leaves nothing of. Whether an answer to the token was lost is
/// as it was.
const OF_A_DEATH: [&str; 5] =
    ["last_error", "failing_since", "questioned", "dead_fingerprint", "queued_until"];

/// What a grant that has ended leaves nothing of when it is sent back to work. Whether an answer to its token
/// was lost is as it was; but the token may be another, and the end of the old grant is not the new one's.
const OF_AN_END: [&str; 5] =
    ["last_error", "failing_since", "questioned", "dead_fingerprint", "refresh_absolute_until"];

/// Makes a grant active whose user has signed in again, or whose document was repaired. None if it does not
/// live again.
pub fn revive_signed_in(names: &FieldPaths, document: &Document) -> Option<DocumentTransition> {
    decode::ended(names, document)?.lives_again().then_some(())?;
    let forgotten = FORGOTTEN.into_iter().chain(OF_THE_OLD_GRANT);
    Some(active(names, unchanged(names, document)?, forgotten))
}

/// Makes a grant active that `provider` has called dead since then, and that still holds the token that died.
/// None for any other.
pub fn revive_disbelieved(
    names: &FieldPaths,
    document: &Document,
    provider: &ProviderId,
    since: Timestamp,
) -> Option<DocumentTransition> {
    let view = decode::view(names, document);
    let is_dead = view.status == Some(GrantStatus::NeedsReauth)
        && view.provider.as_ref() == Some(provider)
        && view.last_error.is_some_and(|error| error.at >= since)
        && decode::ended(names, document).as_ref().is_some_and(EndedDocument::holds_what_ended);
    is_dead.then_some(())?;
    Some(active(names, unchanged(names, document)?, OF_A_DEATH))
}

/// Makes any grant active that has ended, with a job under way for the duration. One that is paused is left
/// alone: only who paused it should wake it.
pub fn reactivate(names: &FieldPaths, queued: Duration) -> DocumentTransition {
    let ended = SweepPlace::ENDED.map(|status| Bson::from(status.as_str())).to_vec();
    let when = vec![DocumentCondition::OneOf(names.path("status"), ended)];
    let mut revived = active(names, when, OF_AN_END);
    revived.set.push((names.path("queued_until"), NewValue::FromNow(queued)));
    revived
}

/// The status and the token are still those of this document, as it was read.
fn unchanged(names: &FieldPaths, document: &Document) -> Option<Vec<DocumentCondition>> {
    let paths = [names.path("status"), names.fields.refresh_token.clone()];
    let paths = paths.into_iter();
    paths
        .map(|path| Some(DocumentCondition::is(path.clone(), at(document, &path)?.clone())))
        .collect()
}

/// Active and due, with `forgotten` forgotten.
fn active(
    names: &FieldPaths,
    when: Vec<DocumentCondition>,
    forgotten: impl IntoIterator<Item = &'static str>,
) -> DocumentTransition {
    let state = [
        ("status", NewValue::constant(GrantStatus::Active.as_str())),
        ("attempts", NewValue::constant(0)),
        ("next_refresh_at", NewValue::NOW),
    ];
    DocumentTransition {
        when,
        set: state.into_iter().map(|(part, value)| (names.path(part), value)).collect(),
        unset: forgotten.into_iter().map(|part| names.path(part)).collect(),
    }
}
