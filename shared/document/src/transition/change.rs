//! What operators do to one grant: a [`GrantChange`] is an arm here, for every store.

use super::{DocumentCondition, DocumentTransition, NewValue};
use crate::field_paths::FieldPaths;
use evergrant_domain::GrantStatus;
use evergrant_ports::{ChangeResult, GrantChange};

/// Does something to a grant.
pub fn change(names: &FieldPaths, change: GrantChange) -> DocumentTransition {
    let status = names.path("status");
    let becomes = |from: GrantStatus, to: GrantStatus, unset| DocumentTransition {
        when: vec![DocumentCondition::is(&status, from.as_str())],
        set: vec![(status.clone(), NewValue::constant(to.as_str()))],
        unset,
    };
    match change {
        GrantChange::Pause => becomes(GrantStatus::Active, GrantStatus::Paused, Vec::new()),
        GrantChange::Resume => {
            becomes(GrantStatus::Paused, GrantStatus::Active, vec![names.path("queued_until")])
        }
        GrantChange::Forget => DocumentTransition {
            when: vec![DocumentCondition::nothing(names.path("lease"))],
            set: Vec::new(),
            unset: vec![names.state.clone()],
        },
    }
}

/// Why that did not hold of a document in this status.
pub const fn why_unchanged(change: GrantChange, status: Option<GrantStatus>) -> ChangeResult {
    match change {
        GrantChange::Pause | GrantChange::Resume => ChangeResult::NotIn(status),
        GrantChange::Forget => ChangeResult::UnderWay,
    }
}
