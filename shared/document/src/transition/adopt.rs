//! Adoption: a document gets the state. MongoDB asks the rules of the server, for all documents at once.

use bson::Document;

use super::{DocumentCondition, DocumentTransition, NewValue};
use crate::adoption::DocumentOwner;
use crate::decode::adopted_as;
use crate::field_paths::FieldPaths;
use evergrant_domain::Timestamp;

/// Gives the state to a document that has none. None if it has one, or is nobody's of ours.
pub fn adopt(names: &FieldPaths, document: &Document) -> Option<DocumentTransition> {
    let unadopted = DocumentCondition::nothing(names.path("status"));
    unadopted.holds(document, Timestamp::default()).then_some(())?;
    let Some(DocumentOwner::Section(provider)) = names.owner(document) else { return None };
    let state = [
        ("provider", NewValue::constant(provider.as_str())),
        ("status", NewValue::constant(adopted_as(names, document).as_str())),
        ("generation", NewValue::constant(0_i64)),
        ("attempts", NewValue::constant(0)),
        ("next_refresh_at", NewValue::NOW),
    ];
    Some(DocumentTransition {
        when: vec![unadopted],
        set: state.into_iter().map(|(part, value)| (names.path(part), value)).collect(),
        unset: Vec::new(),
    })
}
