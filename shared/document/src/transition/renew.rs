//! Prolonging a lease.

use std::time::Duration;

use super::{DocumentCondition, DocumentTransition, NewValue};
use crate::field_paths::FieldPaths;

/// Prolongs the lease that `owner` holds.
pub fn renew(names: &FieldPaths, owner: &str, lease: Duration) -> DocumentTransition {
    DocumentTransition {
        when: vec![DocumentCondition::is(names.path("lease.owner"), owner)],
        set: vec![(names.path("lease.until"), NewValue::FromNow(lease))],
        unset: Vec::new(),
    }
}
