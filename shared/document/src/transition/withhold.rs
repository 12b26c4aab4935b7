//! A document is put out of reach whose new tokens wait elsewhere.

use bson::{Bson, Document};

use super::{DocumentCondition, DocumentTransition};
use crate::document_update::DocumentUpdate;
use crate::field_paths::FieldPaths;
use crate::paths::at;
use evergrant_domain::LastError;
use evergrant_domain::fingerprint::fingerprint;

/// Ends a document as failed that is adopted and still holds the token of which `spent` is the fingerprint;
/// see [`evergrant_ports::LeaseStore::withhold`]. None for any other.
pub fn withhold(
    names: &FieldPaths,
    document: &Document,
    spent: &str,
    last_error: &LastError,
) -> Option<DocumentTransition> {
    let (token, status) = (&names.fields.refresh_token, names.path("status"));
    let held = at(document, token).and_then(Bson::as_str)?;
    let is_spent = fingerprint(&held.into()) == spent;
    (is_spent && at(document, &status).is_some()).then_some(())?;
    let when = vec![DocumentCondition::is(token, held), DocumentCondition::Present(status)];
    let update = DocumentUpdate::withheld(names, spent, last_error, document);
    Some(DocumentTransition::from_operators(when, update.operators()))
}
