//! Giving a lease back.

use super::{DocumentCondition, DocumentTransition};
use crate::field_paths::FieldPaths;

/// Gives the lease back that `owner` holds.
pub fn release(names: &FieldPaths, owner: &str) -> DocumentTransition {
    DocumentTransition {
        when: vec![DocumentCondition::is(names.path("lease.owner"), owner)],
        set: Vec::new(),
        unset: vec![names.path("lease")],
    }
}

/// The same, for a document that has moved on: it is of no more use to the claim. Nor is a job for it under
/// way any more: a user who has signed in again is not to wait until one was.
pub fn release_superseded(names: &FieldPaths, owner: &str) -> DocumentTransition {
    let mut released = release(names, owner);
    released.unset.push(names.path("queued_until"));
    released
}
