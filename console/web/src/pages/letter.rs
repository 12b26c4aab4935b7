//! The page of one dead letter, with its history.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use evergrant_domain::audit::AuditFilter;
use evergrant_domain::{DeadLetter, Timestamp};
use evergrant_ports::{GrantView, wall_clock};

use super::summary_row::{Event, SummaryRow};
use super::{Fact, or_dash, provider_of, typed};
use crate::Web;
use crate::fields::{Fields, Query};
use crate::format::ShownTime;
use crate::page_context::PageContext;
use crate::page_layout::{Nav, PageLayout, html};
use crate::problem::Problem;

/// The most audit entries.
const ENTRIES_MAX: u32 = 20;

#[derive(Template)]
#[template(path = "letter.html")]
struct LetterPage {
    frame: PageLayout,
    id: String,
    reason: &'static str,
    remedy: &'static str,
    facts: Vec<Fact>,
    line: Vec<Event>,
    token: Option<String>,
    pick: Option<String>,
    provider: String,
    revived: bool,
}

pub(crate) async fn page(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    Query(query): Query,
) -> Result<Response, Problem> {
    let provider = provider_of(&web, &query)?;
    let dead = web.letters.latest().await;
    let key = query.get("key").unwrap_or_default();
    let found = dead.taken.as_ref().and_then(|taken| taken.letter(&provider, key));
    let Some(found) = found else {
        let text = "This dead letter is not there any more: it was sent back or discarded. The audit \
                    record says by whom.";
        return Err(Problem::not_found(text)
            .or_go("Dead letters", "/dead-letters")
            .or_go("Audit record", "/audit"));
    };
    let letter = &found.letter;
    // The letter holds most of it, in case the store is unavailable.
    let (grant, entries) = match &letter.id {
        None => (None, Vec::new()),
        Some(id) => {
            let filter = AuditFilter {
                document: Some(id.clone()),
                limit: ENTRIES_MAX,
                ..AuditFilter::default()
            };
            let id = id.clone();
            let found =
                web.ask(
                    |store| async move { futures::try_join!(store.get(&id), store.audit(&filter)) },
                );
            found.await.unwrap_or_default()
        }
    };
    let now = wall_clock();
    let mut line = SummaryRow::default();
    line.letter(letter);
    if let Some(grant) = &grant {
        line.grant(grant, &entries, now);
    }
    let show = |id| Fields::default().address("/tokens/show", &[("id", &typed(id))]);
    html(&LetterPage {
        frame: PageLayout::new(&web, &seen, "Dead letter", Nav::DeadLetters),
        id: or_dash(letter.id.as_ref()),
        reason: letter.reason.as_str(),
        remedy: letter.reason.remedy(),
        facts: facts(letter, grant.as_ref(), now),
        line: line.in_order(now),
        token: letter.id.as_ref().map(show),
        pick: letter.id.as_ref().map(typed),
        provider: provider.to_string(),
        revived: found.revived,
    })
}

fn facts(letter: &DeadLetter, grant: Option<&GrantView>, now: Timestamp) -> Vec<Fact> {
    let status = grant.and_then(|grant| grant.status);
    vec![
        ("Provider", letter.provider.to_string()),
        ("User", or_dash(grant.and_then(|grant| grant.user.as_ref()))),
        ("Email", or_dash(grant.and_then(|grant| grant.email.as_ref()))),
        ("Status of the grant", or_dash(status)),
        ("Lives again", if letter.is_answered(status) { "yes" } else { "no" }.to_owned()),
        ("HTTP status", or_dash(letter.http_status)),
        ("Error code", or_dash(letter.code.as_ref())),
        ("Description", or_dash(letter.description.as_ref())),
        ("Attempts", letter.attempts.to_string()),
        ("First failed", ShownTime::new(letter.first_failed_at, now).words()),
        ("Last failed", ShownTime::new(letter.last_failed_at, now).words()),
        ("Sent back before", format!("{} times", letter.redrive_count)),
        ("Worker", or_dash(letter.worker.as_ref())),
    ]
}
