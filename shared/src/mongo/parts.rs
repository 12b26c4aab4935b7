//! A change of many paths as one expression.

use mongodb::bson::{Bson, Document, doc};

/// What becomes of the parts of a document, by their names.
#[derive(Default)]
pub(super) struct Parts(Vec<(String, Part)>);

enum Part {
    /// It becomes the value of an expression.
    Set(Bson),
    /// It is taken away.
    Unset,
    /// It is a sub-document, and parts of it change.
    Within(Parts),
}

impl Parts {
    /// What is at `path` becomes the value of `expression`.
    pub(super) fn set(&mut self, path: &str, expression: Bson) {
        self.put(path, Part::Set(expression));
    }

    /// What is at `path` is taken away.
    pub(super) fn unset(&mut self, path: &str) {
        self.put(path, Part::Unset);
    }

    fn put(&mut self, path: &str, part: Part) {
        let Some((first, rest)) = path.split_once('.') else {
            self.0.push((path.to_owned(), part));
            return;
        };
        let place = self.0.iter().position(|(name, _)| name == first).unwrap_or_else(|| {
            self.0.push((first.to_owned(), Part::Within(Self::default())));
            self.0.len() - 1
        });
        if let (_, Part::Within(parts)) = &mut self.0[place] {
            parts.put(rest, part);
        }
    }

    /// An expression: the document with its parts changed.
    pub(super) fn of_document(self) -> Document {
        self.of("$$ROOT", "$")
    }

    /// What is `whole`, with its parts changed. The name of a part follows `prefix`.
    ///
    /// By `$mergeObjects`, which leaves all other parts as they are and where they are, and fails if
    /// something stands there that is no sub-document.
    fn of(self, whole: &str, prefix: &str) -> Document {
        let (mut set, mut unset) = (Document::new(), Vec::new());
        for (name, part) in self.0 {
            let path = format!("{prefix}{name}");
            match part {
                Part::Set(expression) => drop(set.insert(name, expression)),
                Part::Within(parts) => drop(set.insert(name, parts.of(&path, &format!("{path}.")))),
                Part::Unset => unset.push(name),
            }
        }
        let merged = doc! { "$mergeObjects": [whole, set] };
        if unset.is_empty() {
            return merged;
        }
        // Not the stage `$unset`, which would take them from every document of the update.
        let stays = doc! { "$not": [{ "$in": ["$$part.k", { "$literal": unset }] }] };
        let parts = doc! { "$objectToArray": merged };
        doc! { "$arrayToObject": { "$filter": { "input": parts, "as": "part", "cond": stays } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_lies_in_the_sub_documents_that_lead_to_it() {
        let mut parts = Parts::default();
        for (path, value) in [("s.a", 1), ("s.t.b", 2), ("top", 3)] {
            parts.set(path, value.into());
        }
        parts.unset("s.gone");
        let merged = doc! { "$mergeObjects": ["$s", {
            "a": 1, "t": { "$mergeObjects": ["$s.t", { "b": 2 }] },
        }] };
        let stays = doc! { "$not": [{ "$in": ["$$part.k", { "$literal": ["gone"] }] }] };
        let s = doc! { "$arrayToObject": { "$filter": {
            "input": { "$objectToArray": merged }, "as": "part", "cond": stays,
        } } };
        let expected = doc! { "$mergeObjects": ["$$ROOT", { "s": s, "top": 3 }] };
        assert_eq!(parts.of_document(), expected);
    }
}
