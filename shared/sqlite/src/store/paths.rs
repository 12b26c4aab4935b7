//! Changes at paths with dots in them, as MongoDB's `$set` and `$unset` make them.

use bson::{Bson, Document};

use evergrant_document::paths::is_open;
pub(super) use evergrant_document::paths::{put as set_over, remove as unset};

/// Something stands on the way that is no sub-document; to replace it would destroy it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotViable;

/// Carries out the operators `$set` and `$unset`, all or none. New fields come in alphabetical order,
/// as they do in MongoDB.
pub(super) fn apply(document: &mut Document, mut operators: Document) -> Result<(), NotViable> {
    let mut of = |operator: &str| match operators.remove(operator) {
        Some(Bson::Document(changes)) => changes.into_iter().collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    let (mut set, removed) = (of("$set"), of("$unset"));
    set.sort_by(|(one, _), (other, _)| one.cmp(other));
    if set.iter().any(|(path, _)| !is_open(document, path)) {
        return Err(NotViable);
    }
    for (path, value) in set {
        set_over(document, &path, value);
    }
    for (path, _) in removed {
        unset(document, &path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_null_on_the_way_is_nothing() {
        let mut document = doc! { "a": null };
        apply(&mut document, doc! { "$set": { "a.b": 1 } }).unwrap();
        assert_eq!(document, doc! { "a": { "b": 1 } });
    }

    #[test]
    fn what_exists_keeps_its_place_and_what_is_new_comes_in_order() {
        let mut document = doc! { "z": 1, "s": { "b": 1, "gone": 1 }, "a": 1 };
        let operators = doc! {
            "$set": { "s.c": 2, "s.b": 2, "s.a.x": 2, "z": 2 },
            "$unset": { "s.gone": "", "no.where": "" },
        };
        assert_eq!(apply(&mut document, operators), Ok(()));
        let expected = doc! { "z": 2, "s": { "b": 2, "a": { "x": 2 }, "c": 2 }, "a": 1 };
        assert_eq!(format!("{document:?}"), format!("{expected:?}"));
    }

    #[test]
    fn an_applications_value_is_not_destroyed_by_a_path_through_it() {
        let mut document = doc! { "tokens": "text" };
        let operators = doc! { "$set": { "a": 1, "tokens.access": "a" } };
        assert_eq!(apply(&mut document, operators), Err(NotViable));
        assert_eq!(document, doc! { "tokens": "text" });
    }
}
