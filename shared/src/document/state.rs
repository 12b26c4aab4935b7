//! What several look for in the state of a document.

use mongodb::bson::{Bson, Document};

use super::names::Names;
use super::numbers::number;
use super::paths::at;

/// Marks of the tokens that a document held before: see [`crate::domain::marks`].
pub(crate) const HELD_BEFORE: &str = "held_before";

/// The marks that a document has.
pub(crate) fn marks(names: &Names, document: &Document) -> Vec<i64> {
    let marks = at(document, &names.path(HELD_BEFORE)).and_then(Bson::as_array);
    marks.into_iter().flatten().filter_map(number).collect()
}

/// The generation of a document, if it tells one.
pub(crate) fn generation(names: &Names, document: &Document) -> Option<u64> {
    let generation = at(document, &names.path("generation")).and_then(number)?;
    u64::try_from(generation).ok()
}
