//! `evergrant audit`: who did what, when, why, and what came of it.

use evergrant_domain::Timestamp;
use evergrant_domain::audit::{ActionOutcome, AuditEntry, AuditFilter, OperatorAction};
use evergrant_operations::about;
use evergrant_ports::{OperationsLog, StoreError};
use serde::Serialize;

use crate::args::{AuditArgs, AuditCommand};
use crate::audit_verify;
use crate::exit::Exit;
use crate::output::{Output, or_dash};

#[derive(Serialize)]
struct ShownEntry<'a> {
    #[serde(flatten)]
    entry: &'a AuditEntry,
    /// As anybody can tell now: a process that died is told.
    outcome: ActionOutcome,
}

/// Lists entries, newest first, or checks them.
pub(crate) async fn list(
    store: &dyn OperationsLog,
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
        let shown = |entry| ShownEntry { entry, outcome: AuditEntry::outcome(entry, now) };
        output.json_list(&entries.iter().map(shown).collect::<Vec<_>>());
        return Ok(Exit::Done);
    }
    let header =
        ["ID", "WHEN", "WHO", "ACTION", "ABOUT", "MATCHED", "DONE", "OUTCOME", "WHY", "DETAIL"];
    output.table(&header, entries.iter().map(|entry| row(entry, now)));
    let is_bulk = |entry: &&AuditEntry| {
        matches!(entry.action, OperatorAction::Redrive | OperatorAction::Discard)
    };
    let died = |entry: &&AuditEntry| entry.outcome(now) == ActionOutcome::Died;
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
