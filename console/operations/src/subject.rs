//! The subject of an audit entry, as text.

use evergrant_domain::audit::AuditEntry;
use serde_json::Value;

/// The subject of an action, as a short text.
pub fn about(entry: &AuditEntry) -> String {
    let mut words = Vec::new();
    if let Some(provider) = &entry.provider {
        words.push(provider.to_string());
    }
    if let Some(document) = &entry.document {
        words.push(document.to_string());
    }
    // A filter contains these two as well.
    let filter = entry.request.get("filter").and_then(Value::as_object);
    for (name, value) in filter.into_iter().flatten() {
        if name != "provider" && name != "id" {
            words.push(format!("{name} {}", plain(value)));
        }
    }
    if let Some(picked) = entry.request.get("picked").and_then(Value::as_array) {
        words.push(format!("{} ticked", picked.len()));
    }
    for name in ["file", "direction", "user", "role", "address", "way", "subject"] {
        words.extend(entry.request.get(name).map(plain));
    }
    if words.is_empty() {
        words.push("all".to_owned());
    }
    for (field, name) in
        [("for", "for"), ("limits", "limits"), ("limit", "at most"), ("per_second", "a second")]
    {
        match (entry.request.get(field), field) {
            (None, _) => {}
            (Some(value), "per_second") => words.push(format!("{} {name}", plain(value))),
            (Some(Value::Null), _) => words.push(format!("{name} of the settings")),
            (Some(value), _) => words.push(format!("{name} {}", plain(value))),
        }
    }
    words.join(", ")
}

/// A value as people write it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" and "),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use evergrant_domain::Timestamp;
    use evergrant_domain::audit::{ActionIntent, OperatorAction};
    use serde_json::json;

    use super::*;

    #[test]
    fn an_actions_subject_is_described() {
        let filter = json!({ "provider": "p", "reason": "grant_dead" });
        for (provider, request, words) in [
            (
                Some("p"),
                json!({ "filter": filter, "per_second": 20 }),
                "p, reason grant_dead, 20 a second",
            ),
            (None, json!({ "filter": {}, "limit": 5 }), "all, at most 5"),
            (None, json!({ "filter": {}, "picked": [1, 2] }), "2 ticked"),
            (Some("p"), json!({ "limits": ["10/s", "300/min"] }), "p, limits 10/s and 300/min"),
            (Some("p"), json!({ "limits": null }), "p, limits of the settings"),
            (Some("p"), json!({ "for": "2h" }), "p, for 2h"),
            (Some("p"), Value::Null, "p"),
            (None, json!({ "file": "/tmp/tokens.jsonl" }), "/tmp/tokens.jsonl"),
        ] {
            let intent = ActionIntent {
                who: "ann@host".to_owned(),
                action: OperatorAction::Redrive,
                provider: provider.map(|name| name.parse().unwrap()),
                document: None,
                request,
                why: String::new(),
            };
            let entry = AuditEntry::begin(String::new(), intent, Timestamp::default(), None);
            assert_eq!(about(&entry), words);
        }
    }
}
