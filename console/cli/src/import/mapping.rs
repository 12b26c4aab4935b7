//! `--map NAME=PATH`: which field of the file becomes which field of the document.

use std::str::FromStr;

use serde_json::{Map, Value};

/// One `NAME=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MapEntry {
    /// A column of a table, or the path of a field.
    pub(super) from: String,
    /// A path in the document: a dot leads into a sub-document.
    pub(super) to: String,
}

impl FromStr for MapEntry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Names of columns may hold the sign, paths don't.
        let (from, to) = text.rsplit_once('=').ok_or("it is NAME=PATH, such as user_id=userId")?;
        if from.is_empty() || !is_path(to) {
            return Err(
                "it is NAME=PATH, and a path is names with dots between them: none empty, \
                        none beginning with $",
            );
        }
        Ok(Self { from: from.to_owned(), to: to.to_owned() })
    }
}

impl std::fmt::Display for MapEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.from, self.to)
    }
}

/// Whether a field can stand there.
pub(super) fn is_path(path: &str) -> bool {
    !path.contains('\0') && path.split('.').all(|step| !step.is_empty() && !step.starts_with('$'))
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Mapping(pub(super) Vec<MapEntry>);

impl Mapping {
    /// Moves the fields of a document to where they are wanted.
    pub(super) fn apply(&self, document: &mut Map<String, Value>) -> Result<(), String> {
        let moved: Vec<_> = self
            .0
            .iter()
            .filter_map(|entry| Some((entry, get(document, &entry.from)?.clone())))
            .collect();
        for (entry, _) in &moved {
            remove(document, &entry.from);
        }
        moved.into_iter().try_for_each(|(entry, value)| set(document, &entry.to, value))
    }
}

fn get<'a>(document: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = document.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

fn remove(document: &mut Map<String, Value>, path: &str) {
    match path.split_once('.') {
        None => drop(document.shift_remove(path)),
        Some((first, rest)) => {
            if let Some(Value::Object(inner)) = document.get_mut(first) {
                remove(inner, rest);
            }
        }
    }
}

/// Sets a field, and makes the sub-documents that lead to it.
pub(super) fn set(
    document: &mut Map<String, Value>,
    path: &str,
    value: Value,
) -> Result<(), String> {
    let Some((first, rest)) = path.split_once('.') else {
        document.insert(path.to_owned(), value);
        return Ok(());
    };
    match document.entry(first).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => set(inner, rest, value),
        _ => Err(format!("{first} is no sub-document, so nothing can be set in it")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapped(entries: &[&str], document: Value) -> Result<Value, String> {
        let mapping = Mapping(entries.iter().map(|entry| entry.parse().unwrap()).collect());
        let Value::Object(mut document) = document else { panic!("a document") };
        mapping.apply(&mut document)?;
        Ok(Value::Object(document))
    }

    #[test]
    fn fields_are_moved_and_may_be_given_twice() {
        let document = json!({ "id": "c1", "user": { "mail": "m" }, "rt": "r" });
        let entries = ["id=_id", "id=userId", "user.mail=email", "rt=tokens.refresh", "none=x"];
        assert_eq!(
            mapped(&entries, document),
            Ok(
                json!({ "user": {}, "_id": "c1", "userId": "c1", "email": "m", "tokens": { "refresh": "r" } })
            )
        );
    }

    #[test]
    fn two_fields_may_change_places() {
        let swapped = mapped(&["a=b", "b=a"], json!({ "a": 1, "b": 2 }));
        assert_eq!(swapped, Ok(json!({ "b": 1, "a": 2 })));
    }

    #[test]
    fn a_value_is_no_sub_document() {
        assert!(mapped(&["rt=email.x"], json!({ "rt": "r", "email": "m" })).is_err());
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["id", "=x", "id=", "id=a..b", "id=$a", "id=.a"] {
            assert!(text.parse::<MapEntry>().is_err(), "{text}");
        }
        let entry: MapEntry = "a=b=c".parse().unwrap();
        assert_eq!((entry.from.as_str(), entry.to.as_str()), ("a=b", "c"));
    }
}
