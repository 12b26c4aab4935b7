//! `evergrant audit`: who did what, when, why, and what came of it.

use evergrant_domain::Timestamp;
use evergrant_domain::audit::{Action, AuditEntry, AuditFilter, Outcome};
use evergrant_ports::StoreError;
use evergrant_ports::operators::OperatorStore;
use serde::Serialize;
use serde_json::Value;

use crate::args::{AuditArgs, AuditCommand};
use crate::audit_verify;
use crate::exit::Exit;
use crate::output::{Output, or_dash};

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    entry: &'a AuditEntry,
    /// As anybody can tell now: a process that died is told.
    outcome: Outcome,
}

/// Lists entries, newest first, or checks them.
pub(crate) async fn list(
    store: &dyn OperatorStore,
    args: AuditArgs,
    output: &Output,
) -> Result<Exit, StoreError> {
    if let Some(AuditCommand::Verify { known }) = &args.command {
        return audit_verify::verify(store, known.as_deref(), output).await;
    }
    let by_id = args.id.clone();
    let filter = AuditFilter::from(args);
    let entries = match by_id {
        Some(id) => store.audit_entry(&id).await?.into_iter().collect(),
        None => store.audit(&filter).await?,
    };
    let now = store.now().await?;
    if entries.is_empty() {
        output.message("no audit entry matches");
        return Ok(Exit::Nothing);
    }
    if output.json {
        let shown = |entry| Shown { entry, outcome: AuditEntry::outcome(entry, now) };
        output.json_list(&entries.iter().map(shown).collect::<Vec<_>>());
        return Ok(Exit::Done);
    }
    let header =
        ["ID", "WHEN", "WHO", "ACTION", "ABOUT", "MATCHED", "DONE", "OUTCOME", "WHY", "DETAIL"];
    output.table(&header, entries.iter().map(|entry| row(entry, now)));
    let is_bulk = |entry: &&AuditEntry| matches!(entry.action, Action::Redrive | Action::Discard);
    let died = |entry: &&AuditEntry| entry.outcome(now) == Outcome::Died;
    let died = entries.iter().filter(is_bulk).find(died);
    // A bulk action alone can be gone on with.
    if let Some(entry) = died {
        output.message(&format!(
            "the process of {} died over it: evergrant dlq resume {} goes on with it",
            entry.id, entry.id
        ));
    }
    if entries.len() == filter.limit as usize
        && let Some(last) = entries.last()
    {
        output.message(&format!("there may be more: --before {}", last.id));
    }
    Ok(Exit::Done)
}

fn row(entry: &AuditEntry, now: Timestamp) -> Vec<String> {
    vec![
        entry.id.clone(),
        entry.at.to_string(),
        entry.who.clone(),
        entry.action.to_string(),
        about(entry),
        or_dash(entry.progress.matched),
        entry.progress.done.to_string(),
        entry.outcome(now).as_str().to_owned(),
        or_dash(Some(&entry.why).filter(|why| !why.is_empty())),
        or_dash(Some(&entry.progress.detail).filter(|detail| !detail.is_empty())),
    ]
}

/// What an action is about, in a few words.
pub(crate) fn about(entry: &AuditEntry) -> String {
    let mut words = Vec::new();
    if let Some(provider) = &entry.provider {
        words.push(provider.to_string());
    }
    if let Some(document) = &entry.document {
        words.push(document.to_string());
    }
    // A filter names these two as well.
    let filter = entry.request.get("filter").and_then(Value::as_object);
    for (name, value) in filter.into_iter().flatten() {
        if name != "provider" && name != "id" {
            words.push(format!("{name} {}", plain(value)));
        }
    }
    if let Some(picked) = entry.request.get("picked").and_then(Value::as_array) {
        words.push(format!("{} that were ticked", picked.len()));
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
    use evergrant_domain::audit::Intent;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_action_is_about_is_told_in_words() {
        let filter = json!({ "provider": "p", "reason": "grant_dead" });
        for (provider, request, words) in [
            (
                Some("p"),
                json!({ "filter": filter, "per_second": 20 }),
                "p, reason grant_dead, 20 a second",
            ),
            (None, json!({ "filter": {}, "limit": 5 }), "all, at most 5"),
            (None, json!({ "filter": {}, "picked": [1, 2] }), "2 that were ticked"),
            (Some("p"), json!({ "limits": ["10/s", "300/min"] }), "p, limits 10/s and 300/min"),
            (Some("p"), json!({ "limits": null }), "p, limits of the settings"),
            (Some("p"), json!({ "for": "2h" }), "p, for 2h"),
            (Some("p"), Value::Null, "p"),
            (None, json!({ "file": "/tmp/tokens.jsonl" }), "/tmp/tokens.jsonl"),
        ] {
            let intent = Intent {
                who: "ann@host".to_owned(),
                action: Action::Redrive,
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
