//! The mark that a job is under way.

use std::time::Duration;

use super::{DocumentCondition, DocumentTransition, NewValue};
use crate::field_paths::FieldPaths;
use evergrant_domain::GrantStatus;

/// Marks what is still due. The worker may have been faster: what it has refreshed or postponed meanwhile
/// has a due time to come, and the mark would hide that.
pub fn mark_queued(names: &FieldPaths, duration: Duration) -> DocumentTransition {
    DocumentTransition {
        when: vec![
            DocumentCondition::is(names.path("status"), GrantStatus::Active.as_str()),
            DocumentCondition::Over(names.path("next_refresh_at")),
        ],
        set: vec![(names.path("queued_until"), NewValue::FromNow(duration))],
        unset: Vec::new(),
    }
}
