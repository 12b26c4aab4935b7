//! Taking a lease.

use std::time::Duration;

use bson::Bson;

use super::{DocumentCondition, DocumentTransition, NewValue};
use crate::document_update::SETTLED_BY;
use crate::field_paths::FieldPaths;
use evergrant_domain::GrantStatus;

/// What ends a lease that is not given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// Its time is over.
    ByClock,
    /// Its holder is known to be gone.
    HolderGone,
}

/// Takes the lease for `owner` where it is free, ended, or this claim's already.
///
/// A first try whose answer was given up may come late, with a clock as old as itself. It neither
/// shortens the lease that a later try took nor takes one of a document that the claim has settled.
pub fn claim(
    names: &FieldPaths,
    owner: &str,
    lease: Duration,
    end: LeaseEnd,
) -> DocumentTransition {
    let until = names.path("lease.until");
    let own = DocumentCondition::is(names.path("lease.owner"), owner);
    let has_settled = DocumentCondition::is(names.path(SETTLED_BY), owner);
    let free = match end {
        LeaseEnd::ByClock => {
            DocumentCondition::Any(vec![own.clone(), DocumentCondition::Over(until.clone())])
        }
        LeaseEnd::HolderGone => DocumentCondition::All(Vec::new()),
    };
    let ends_later =
        DocumentCondition::All(vec![own.clone(), DocumentCondition::After(until.clone(), lease)]);
    let lease = NewValue::Object(vec![
        ("owner", NewValue::constant(owner)),
        ("until", NewValue::either(ends_later, NewValue::At(until), NewValue::FromNow(lease))),
        ("taken_over", taken_over(names, own)),
    ]);
    DocumentTransition {
        when: vec![
            DocumentCondition::is(names.path("status"), GrantStatus::Active.as_str()),
            DocumentCondition::Not(Box::new(has_settled)),
            free,
        ],
        set: vec![(names.path("lease"), lease)],
        unset: Vec::new(),
    }
}

/// Another's lease that is still there has ended, or it would not be taken: its holder has died, maybe after
/// it sent the token. That is told by the dead claim's name; or by true, if that one had taken it over
/// itself. The claim's own lease already says how an earlier try came by it.
fn taken_over(names: &FieldPaths, own: DocumentCondition) -> NewValue {
    let before = names.path("lease.taken_over");
    let nobody = DocumentCondition::nothing(names.path("lease"));
    let one = DocumentCondition::is(&before, Bson::Boolean(false));
    let (yes, no) = (NewValue::constant(true), NewValue::constant(false));
    let who = NewValue::either(one, NewValue::At(names.path("lease.owner")), yes);
    NewValue::either(own, NewValue::At(before), NewValue::either(nobody, no, who))
}
