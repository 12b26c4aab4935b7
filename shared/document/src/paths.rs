//! Paths with dots in them, and what is at them in a document.

use bson::{Bson, Document};

/// Whether a path is another one, or leads into what is there.
pub fn is_within(path: &str, other: &str) -> bool {
    let rest = path.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether one of two paths is the other, or leads into it: a server takes no two such paths at once.
pub fn overlap(one: &str, other: &str) -> bool {
    is_within(one, other) || is_within(other, one)
}

/// Whether a path leads through nothing but sub-documents, as far as it exists. A null is nothing.
pub fn is_open(document: &Document, path: &str) -> bool {
    let mut ways = path.match_indices('.').map(|(end, _)| path.split_at(end).0);
    ways.all(|way| at(document, way).is_none_or(|found| found.as_document().is_some()))
}

/// What is at a path with dots in it. A null is nothing: drivers write it for what is not set.
///
/// ```
/// use bson::doc;
/// use evergrant_document::paths::at;
///
/// let document = doc! { "tokens": { "access": "a" } };
/// assert_eq!(at(&document, "tokens.access").and_then(bson::Bson::as_str), Some("a"));
/// assert_eq!(at(&document, "tokens.refresh"), None);
/// ```
pub fn at<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    let mut steps = path.split('.');
    let mut found = document.get(steps.next()?)?;
    for step in steps {
        found = found.as_document()?.get(step)?;
    }
    (!matches!(found, Bson::Null | Bson::Undefined)).then_some(found)
}

/// The first part of a path that is an array in this document: what lies behind it is many values or
/// none, and not the one that a path names.
pub fn array_on_the_way<'a>(document: &Document, path: &'a str) -> Option<&'a str> {
    let ends = path.match_indices('.').map(|(end, _)| end).chain([path.len()]);
    let mut parts = ends.map(|end| path.split_at(end).0);
    parts.find(|part| matches!(at(document, part), Some(Bson::Array(_))))
}

/// The first name of a path, by which a document has it or not.
pub fn first(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// Puts a value at a path with dots in it. What stands on the way and is no sub-document is replaced.
pub fn put(document: &mut Document, path: &str, value: impl Into<Bson>) {
    let Some((first, rest)) = path.split_once('.') else {
        document.insert(path, value);
        return;
    };
    if !matches!(document.get(first), Some(Bson::Document(_))) {
        document.insert(first, Document::new());
    }
    if let Some(Bson::Document(inner)) = document.get_mut(first) {
        put(inner, rest, value);
    }
}

/// Removes what is at a path with dots in it. What is not there need not be.
pub fn remove(document: &mut Document, path: &str) {
    match path.split_once('.') {
        None => drop(document.remove(path)),
        Some((first, rest)) => {
            if let Some(Bson::Document(inner)) = document.get_mut(first) {
                remove(inner, rest);
            }
        }
    }
}

/// Something stands on the way that is no sub-document; to replace it would destroy it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotViable;

/// Carries out the operators `$set` and `$unset`, all or none. New fields come in alphabetical order,
/// as they do in MongoDB.
pub fn apply(document: &mut Document, mut operators: Document) -> Result<(), NotViable> {
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
        put(document, &path, value);
    }
    for (path, _) in removed {
        remove(document, &path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_dot_leads_into_a_sub_document() {
        let document = doc! { "tokens": { "refresh": "r", "none": null }, "plain": 1 };
        assert_eq!(at(&document, "tokens.refresh"), Some(&Bson::from("r")));
        assert_eq!(at(&document, "plain"), Some(&Bson::from(1)));
        for nothing in ["tokens.none", "tokens.other", "plain.deeper", "other"] {
            assert_eq!(at(&document, nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_path_is_open_as_far_as_it_leads_through_sub_documents() {
        let document = doc! { "a": { "b": null, "c": 1 }, "d": [{}], "e": null };
        for (path, is) in [
            ("x", true),
            ("d", true),
            ("a.b.c", true),
            ("e.f.g", true),
            ("x.y", true),
            ("a.c.d", false),
            ("d.0", false),
        ] {
            assert_eq!(is_open(&document, path), is, "{path}");
        }
    }

    #[test]
    fn an_array_is_found_wherever_it_lies_on_the_way() {
        let document = doc! { "list": [{ "a": 1 }], "in": { "list": [], "b": 1 }, "c": 1 };
        for (path, array) in [("list", "list"), ("list.a", "list"), ("in.list.a", "in.list")] {
            assert_eq!(array_on_the_way(&document, path), Some(array), "{path}");
        }
        for path in ["in.b", "c", "c.d", "other"] {
            assert_eq!(array_on_the_way(&document, path), None, "{path}");
        }
    }

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
