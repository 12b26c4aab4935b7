//! Dead letters that wait for somebody.

use std::sync::Arc;

use evergrant_domain::DeadReason;
use evergrant_ports::{JobQueue, Store};
use evergrant_provider::Provider;

use super::row::{DoctorRow, Level};
use evergrant_operations::letters::{LetterFilter, LetterGroup, LetterQueues};

/// A row for each provider and reason.
pub(super) async fn rows(
    store: &Arc<dyn Store>,
    queue: &Arc<dyn JobQueue>,
    providers: &[Provider],
) -> Vec<DoctorRow> {
    let providers = providers.iter().map(|provider| provider.id.clone()).collect();
    let letters = LetterQueues { store: Arc::clone(store), queue: Arc::clone(queue), providers };
    let found = match letters.groups(&LetterFilter::default()).await {
        Ok(found) => found,
        Err(error) => return vec![DoctorRow::new(Level::Wrong, "dead letters", error.to_string())],
    };
    let mut rows: Vec<_> = found.groups.iter().map(row).collect();
    if rows.is_empty() {
        rows.push(DoctorRow::new(Level::Ok, "dead letters", "none"));
    }
    if found.left_out > 0 {
        let detail = format!(
            "{} of grants that live again; to remove them: evergrant dlq discard --revived",
            found.left_out
        );
        rows.push(DoctorRow::new(Level::Note, "dead letters", detail));
    }
    rows
}

fn row(group: &LetterGroup) -> DoctorRow {
    let LetterGroup { provider, reason, count, .. } = group;
    let what = format!("dead letters of {provider}");
    let detail = format!(
        "{count} {reason}: {}; see evergrant dlq show --provider {provider} --reason {reason}",
        reason.remedy()
    );
    DoctorRow::new(level(*reason), what, detail)
}

/// That some users withdraw their consent is normal. Everything else waits for somebody.
const fn level(reason: DeadReason) -> Level {
    match reason {
        DeadReason::GrantDead | DeadReason::LostResponse => Level::Ok,
        DeadReason::UncommittedAnswer => Level::Wrong,
        _ => Level::Warning,
    }
}
