//! A commit's change, made to fit a document that is not as a claim expects it.

use mongodb::bson::{Bson, Document};

use evergrant_document::paths::put;

/// A change as its document takes it. A null on the way to a field, which `$set` refuses, becomes a
/// sub-document. Anything else that stands there is the application's, and is left to the server to refuse.
pub(super) fn fit(mut change: Document, read: &Document) -> Document {
    let mut parts = |operator| match change.remove(operator) {
        Some(Bson::Document(parts)) => parts,
        _ => Document::new(),
    };
    let (set, unset) = (parts("$set"), parts("$unset"));
    let mut fitting = Document::new();
    for (path, value) in set {
        match null_before(read, &path) {
            None => drop(fitting.insert(path, value)),
            Some(null) => {
                let inner = fitting.entry(null.to_owned()).or_insert(Document::new().into());
                if let (Bson::Document(inner), Some(rest)) = (inner, path.get(null.len() + 1..)) {
                    put(inner, rest, value);
                }
            }
        }
    }
    let unset = unset.into_iter().filter(|(path, _)| null_before(read, path).is_none());
    let unset: Document = unset.collect();
    change.insert("$set", fitting);
    if !unset.is_empty() {
        change.insert("$unset", unset);
    }
    change
}

/// The beginning of a path where a null is.
fn null_before<'a>(read: &Document, path: &'a str) -> Option<&'a str> {
    let mut ways = path.match_indices('.').map(|(end, _)| path.split_at(end).0);
    ways.find(|way| value_at(read, way) == Some(&Bson::Null))
}

/// What is at a path, a null included.
pub(super) fn value_at<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    match path.rsplit_once('.') {
        None => document.get(path),
        Some((way, last)) => value_at(document, way)?.as_document()?.get(last),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn a_change_that_fits_is_left_as_it_is() {
        let change = doc! { "$set": { "s.a": 1 }, "$unset": { "s.b": "" } };
        for read in [doc! {}, doc! { "s": { "a": null } }] {
            assert_eq!(fit(change.clone(), &read), change);
        }
    }

    #[test]
    fn a_null_on_the_way_becomes_a_sub_document() {
        let change = doc! { "$set": { "s.a": 1, "s.b.c": 2, "t.x": 3 }, "$unset": { "s.d": "" } };
        let expected = doc! { "$set": { "s": { "a": 1, "b": { "c": 2 } }, "t.x": 3 } };
        assert_eq!(fit(change, &doc! { "s": null, "t": {} }), expected);
    }
}
