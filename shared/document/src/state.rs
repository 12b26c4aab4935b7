//! What several look for in the state of a document.

use bson::{Bson, Document};

use super::field_paths::FieldPaths;
use super::numbers::number;
use super::paths::at;

/// Marks of the tokens that a document held before: see [`evergrant_domain::marks`].
pub const HELD_BEFORE: &str = "held_before";

/// The marks that a document has.
pub fn marks(names: &FieldPaths, document: &Document) -> Vec<i64> {
    let marks = at(document, &names.path(HELD_BEFORE)).and_then(Bson::as_array);
    marks.into_iter().flatten().filter_map(number).collect()
}

/// The generation of a document, if it tells one.
pub fn generation(names: &FieldPaths, document: &Document) -> Option<u64> {
    let generation = at(document, &names.path("generation")).and_then(number)?;
    u64::try_from(generation).ok()
}
