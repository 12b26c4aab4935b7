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
    /// What is at `path` becomes the value of `expression`. None if something else becomes of it, or of
    /// what it lies within: one of the two would be lost.
    pub(super) fn set(&mut self, path: &str, expression: Bson) -> Option<()> {
        self.put(path, Part::Set(expression))
    }

    /// What is at `path` is taken away. None as for [`Parts::set`].
    pub(super) fn unset(&mut self, path: &str) -> Option<()> {
        self.put(path, Part::Unset)
    }

    fn put(&mut self, path: &str, part: Part) -> Option<()> {
        let (name, rest) =
            path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let known = self.0.iter_mut().find(|(known, _)| known == name).map(|(_, part)| part);
        match (known, rest) {
            (Some(Part::Within(parts)), Some(rest)) => parts.put(rest, part)?,
            (Some(_), _) => return None,
            (None, None) => self.0.push((name.to_owned(), part)),
            (None, Some(rest)) => {
                let mut parts = Self::default();
                parts.put(rest, part)?;
                self.0.push((name.to_owned(), Part::Within(parts)));
            }
        }
        Some(())
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
            parts.set(path, value.into()).unwrap();
        }
        parts.unset("s.gone").unwrap();
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

    #[test]
    fn of_two_parts_of_which_one_lies_within_the_other_none_is_lost_in_silence() {
        for [one, other] in [["tokens", "tokens.refresh"], ["s.a.b", "s.a"], ["s.a", "s.a"]] {
            let mut parts = Parts::default();
            parts.set(one, 1.into()).unwrap();
            assert_eq!(parts.set(other, 2.into()), None, "{other}");
            assert_eq!(parts.unset(other), None, "{other}");
        }
    }
}
