//! Paths into a provider's answer.

use serde::Deserialize;
use serde_json::Value;

/// Names joined by dots, from the top of an answer: `body.access_token`, `errors.*.code`. A number
/// is an index into a list; `*` stands for each of its items.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AnswerPath(Vec<String>);

/// The deepest path.
const STEPS_MAX: usize = 16;

impl TryFrom<String> for AnswerPath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
        if steps.len() > STEPS_MAX || steps.iter().any(String::is_empty) {
            return Err("a path is names with dots between them, none empty, such as \
                        body.access_token or errors.*.code"
                .to_owned());
        }
        Ok(Self(steps))
    }
}

impl AnswerPath {
    /// All values at the path. A null counts as missing.
    pub(super) fn all<'a>(&self, answer: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![answer];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| within(value, step)).collect();
        }
        found.retain(|value| !value.is_null());
        found
    }
}

fn within<'a>(value: &'a Value, step: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(members) => members.get(step).into_iter().collect(),
        Value::Array(items) if step == "*" => items.iter().collect(),
        Value::Array(items) => {
            step.parse().ok().and_then(|at: usize| items.get(at)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(path: &str, answer: &Value) -> Vec<Value> {
        let path = AnswerPath::try_from(path.to_owned()).unwrap();
        path.all(answer).into_iter().cloned().collect()
    }

    #[test]
    fn a_path_leads_through_objects_and_lists() {
        let answer = json!({"a": {"b": [{"c": 1}, {"c": 2}, {"d": 3}, {"c": null}]}, "x": null});
        assert_eq!(all("a.b.*.c", &answer), [json!(1), json!(2)]);
        assert_eq!(all("a.b.1.c", &answer), [json!(2)]);
        assert!(all("a.c", &answer).is_empty());
        assert!(all("x", &answer).is_empty());
        assert!(all("a.b.c.d", &answer).is_empty());
    }

    #[test]
    fn a_path_without_a_name_is_refused() {
        for path in ["", ".", "a..b", "a."] {
            assert!(AnswerPath::try_from(path.to_owned()).is_err(), "{path}");
        }
    }
}
