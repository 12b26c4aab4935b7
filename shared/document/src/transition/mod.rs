//! What happens to a token document, each transition as a value that says when and what: SQLite and memory
//! carry it out, MongoDB compiles it to a filter and an update.

mod adopt;
mod change;
mod claim;
mod commit;
mod condition;
mod mark_queued;
mod new_value;
mod release;
mod renew;
mod revive;
mod withhold;

use bson::{Bson, Document};

pub use adopt::adopt;
pub use change::{change, why_unchanged};
pub use claim::{LeaseEnd, claim};
pub use commit::{CommitEffect, commit};
pub use condition::DocumentCondition;
pub use mark_queued::mark_queued;
pub use new_value::NewValue;
pub use release::{release, release_superseded};
pub use renew::renew;
pub use revive::{reactivate, revive_disbelieved, revive_signed_in};
pub use withhold::withhold;

use crate::paths::{put, remove};
use evergrant_domain::Timestamp;

/// What becomes of a document in which something holds. One in which it does not is left as it is.
///
/// What depends on the clock is set and never removed: an update cannot remove on a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentTransition {
    /// What must hold, all of it.
    pub when: Vec<DocumentCondition>,
    /// What is set, by its path. Each value is of the document as it was before.
    pub set: Vec<(String, NewValue)>,
    /// The paths of what is removed.
    pub unset: Vec<String>,
}

impl DocumentTransition {
    /// Carries it out at a time of the store's clock. False if it does not hold.
    pub fn carry_out(&self, document: &mut Document, now: Timestamp) -> bool {
        if !self.when.iter().all(|condition| condition.holds(document, now)) {
            return false;
        }
        let value = |(path, value): &(String, NewValue)| {
            Some((path.clone(), value.evaluate(document, now)?))
        };
        let set: Vec<(String, Bson)> = self.set.iter().filter_map(value).collect();
        set.into_iter().for_each(|(path, value)| put(document, &path, value));
        self.unset.iter().for_each(|path| remove(document, path));
        true
    }

    /// The operators `$set` and `$unset` with constants, on a condition.
    fn from_operators(when: Vec<DocumentCondition>, mut operators: Document) -> Self {
        let mut of = |operator| match operators.remove(operator) {
            Some(Bson::Document(changes)) => changes,
            _ => Document::new(),
        };
        let (set, unset) = (of("$set"), of("$unset"));
        let set = set.into_iter().map(|(path, value)| (path, NewValue::Constant(value)));
        Self { when, set: set.collect(), unset: unset.into_iter().map(|(path, _)| path).collect() }
    }
}
