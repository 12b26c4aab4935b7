//! The audit page: operators' actions.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use evergrant_domain::Timestamp;
use evergrant_domain::audit::{ActionOutcome, AuditEntry, AuditFilter, OperatorAction};

use super::Choice;
use crate::Web;
use crate::fields::Query;
use crate::format::{self, ShownTime, visible};
use crate::page_context::PageContext;
use crate::page_layout::{Nav, PageLayout, html};
use crate::problem::Problem;
use evergrant_operations::about;

/// Rows per page.
const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "audit.html")]
struct Audit {
    frame: PageLayout,
    who: String,
    actions: Vec<Choice>,
    providers: Vec<Choice>,
    filtered: bool,
    error: Option<String>,
    rows: Vec<AuditRow>,
    first: Option<String>,
    after: Option<String>,
}

struct AuditRow {
    at: ShownTime,
    who: String,
    action: &'static str,
    what: String,
    why: String,
    outcome: &'static str,
    mood: &'static str,
    detail: String,
    done: String,
    /// The entry, if its action can be resumed.
    resume: Option<String>,
}

pub(crate) async fn page(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    Query(query): Query,
) -> Result<Response, Problem> {
    let mut error = None;
    let read = || -> Result<AuditFilter, String> {
        Ok(AuditFilter {
            before: query.get("before").map(str::to_owned),
            who: query.get("who").map(|who| who.trim().to_owned()),
            action: query.read("action")?,
            provider: query.read("provider")?,
            limit: ROWS,
            ..AuditFilter::default()
        })
    };
    let filter = read().unwrap_or_else(|wrong| {
        error = Some(format!("{wrong}. All are shown."));
        AuditFilter { limit: ROWS, ..AuditFilter::default() }
    });
    let entries = web.ask(|store| async move { store.audit(&filter).await }).await?;
    let now = web.watcher.known().now();
    let last = entries.last().filter(|_| entries.len() >= ROWS as usize);
    let filtered = ["who", "action", "provider"].iter().any(|name| query.get(name).is_some());
    html(&Audit {
        frame: PageLayout::new(&web, &seen, "Audit", Nav::Audit),
        who: query.get("who").unwrap_or_default().to_owned(),
        actions: Choice::list(OperatorAction::ALL, query.get("action")),
        providers: Choice::providers(&web, &query),
        filtered,
        error: error.map(|words| visible(&words)),
        first: query.get("before").map(|_| query.address("/audit", &[("before", "")])),
        after: last.map(|last| query.address("/audit", &[("before", &last.id)])),
        rows: entries.iter().map(|entry| row(entry, now)).collect(),
    })
}

fn row(entry: &AuditEntry, now: Timestamp) -> AuditRow {
    let outcome = entry.outcome(now);
    let progress = &entry.progress;
    let done = match progress.matched {
        Some(matched) => {
            format!("{} of {}", format::number(progress.done), format::number(matched))
        }
        None => format::number(progress.done),
    };
    let is_bulk = matches!(entry.action, OperatorAction::Redrive | OperatorAction::Discard);
    let ended_early =
        matches!(outcome, ActionOutcome::Died | ActionOutcome::Cancelled | ActionOutcome::Failed);
    // An action that was resumed says so.
    let can_resume = is_bulk && ended_early && !progress.detail.starts_with("gone on with");
    AuditRow {
        at: ShownTime::new(entry.at, now),
        who: visible(&entry.who),
        action: entry.action.as_str(),
        what: visible(&about(entry)),
        why: visible(&entry.why),
        outcome: outcome.as_str(),
        mood: mood(outcome),
        detail: visible(&progress.detail),
        done,
        resume: can_resume.then(|| entry.id.clone()),
    }
}

/// The colour of an outcome.
pub(super) const fn mood(outcome: ActionOutcome) -> &'static str {
    match outcome {
        ActionOutcome::Done => "good",
        ActionOutcome::Running | ActionOutcome::Partial | ActionOutcome::Cancelled => "careful",
        ActionOutcome::Failed | ActionOutcome::Died => "bad",
        ActionOutcome::Nothing => "",
    }
}
