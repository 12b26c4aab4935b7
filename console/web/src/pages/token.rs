//! The page of one grant: its state, its history, and the possible actions.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use evergrant_domain::audit::AuditFilter;
use evergrant_domain::{DocumentId, GrantStatus, Timestamp};
use evergrant_ports::GrantView;

use super::summary_row::{Event, SummaryRow};
use super::{Fact, mood, or_dash, typed};
use crate::Web;
use crate::fields::Query;
use crate::format::{ShownTime, visible};
use crate::page_context::PageContext;
use crate::page_layout::{Nav, PageLayout, html};
use crate::problem::Problem;

/// The most audit entries.
const ENTRIES_MAX: u32 = 50;

#[derive(Template)]
#[template(path = "token.html")]
struct Token {
    frame: PageLayout,
    id: String,
    typed_id: String,
    status: String,
    mood: &'static str,
    advice: Option<String>,
    facts: Vec<Fact>,
    line: Vec<Event>,
    buttons: Vec<Button>,
}

/// A possible action.
pub(super) struct Button {
    pub(super) what: &'static str,
    pub(super) words: &'static str,
    pub(super) title: &'static str,
}

/// The problem that there is no such document.
pub(super) fn absent(id: &str) -> Problem {
    let text = format!(
        "There is no document with the _id {id}. A string that looks like another type is written as \
         JSON does, with quotation marks."
    );
    Problem::not_found(text).or_go("Search", "/tokens")
}

pub(crate) async fn page(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    Query(query): Query,
) -> Result<Response, Problem> {
    let text = query.get("id").unwrap_or_default();
    let id: DocumentId = text
        .parse()
        .map_err(|error| Problem::bad(format!("{error}")).or_go("Search", "/tokens"))?;
    let now = web.watcher.known().now();
    let filter =
        AuditFilter { document: Some(id.clone()), limit: ENTRIES_MAX, ..AuditFilter::default() };
    let mut line = SummaryRow::default();
    let wanted = id.clone();
    let found = web
        .ask(|store| async move { futures::try_join!(store.get(&wanted), store.audit(&filter)) });
    let (Some(grant), entries) = found.await? else { return Err(absent(text)) };
    line.grant(&grant, &entries, now);
    let dead = web.letters.latest().await;
    let letters = dead.taken.iter().flat_map(|taken| &taken.letters);
    for letter in letters.filter(|letter| letter.letter.id.as_ref() == Some(&id)) {
        line.letter(&letter.letter);
    }
    html(&Token {
        frame: PageLayout::new(&web, &seen, "Grant", Nav::Tokens),
        id: visible(&id.to_string()),
        typed_id: typed(&id),
        status: grant.status.map_or_else(|| "not adopted yet".to_owned(), |s| s.to_string()),
        mood: mood(grant.status),
        advice: advice(&grant).map(str::to_owned),
        facts: facts(&grant, now).into_iter().filter(|(_, value)| value != "–").collect(),
        line: line.in_order(now),
        buttons: buttons(grant.status),
    })
}

fn advice(grant: &GrantView) -> Option<&'static str> {
    match grant.status {
        Some(GrantStatus::NeedsReauth) => Some(
            "The user must sign in again. When the application has written the new tokens, the grant \
             is active again by itself.",
        ),
        Some(GrantStatus::Failed) => Some(
            "Evergrant has given up. See the error, correct the cause, then refresh or redrive. When the \
                  application writes another refresh token, the grant is active again by itself.",
        ),
        Some(GrantStatus::Paused) => {
            Some("An operator has paused it: it is not refreshed until resumed.")
        }
        Some(GrantStatus::NoToken) => Some(
            "The document holds no refresh token, so there is nothing to keep alive. When the \
             application writes one, the grant is active by itself.",
        ),
        None => Some("Evergrant has not adopted it yet; the producer will."),
        Some(GrantStatus::Active) => None,
    }
}

fn buttons(status: Option<GrantStatus>) -> Vec<Button> {
    let button = |what, words, title| Button { what, words, title };
    let refresh = button("refresh", "Refresh now", "Makes it active and gives it a job at once");
    match status {
        Some(GrantStatus::Active) => vec![
            refresh,
            button("pause", "Pause", "It is not refreshed until resumed, and its token may die"),
        ],
        Some(GrantStatus::NeedsReauth | GrantStatus::Failed | GrantStatus::NoToken) => {
            vec![refresh]
        }
        Some(GrantStatus::Paused) => {
            vec![button("resume", "Resume", "It is due when it was due before")]
        }
        None => Vec::new(),
    }
}

fn facts(grant: &GrantView, now: Timestamp) -> Vec<Fact> {
    let time = |at| or_dash(ShownTime::maybe(at, now).map(|when| when.words()));
    let error = grant.last_error.as_ref();
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    vec![
        ("User", or_dash(grant.user.as_ref())),
        ("Email", or_dash(grant.email.as_ref())),
        ("Provider", or_dash(grant.provider.as_ref())),
        ("Refreshes", grant.generation.to_string()),
        ("Refreshed", time(grant.refreshed_at)),
        ("Due", time(grant.next_refresh_at)),
        ("Access token expires", time(grant.access_expires_at)),
        ("Refresh token dies", time(grant.refresh_idle_until)),
        ("Grant ends", time(grant.refresh_absolute_until)),
        ("Job under way until", time(grant.queued_until)),
        ("Leased until", time(grant.leased_until)),
        ("Failed attempts", grant.attempts.to_string()),
        ("An answer may be lost", yes(grant.in_doubt)),
        ("Last error", or_dash(error.map(|error| error.reason.as_str()))),
        ("HTTP status", or_dash(error.and_then(|error| error.http_status))),
        ("Error code", or_dash(error.and_then(|error| error.code.as_ref()))),
        ("Description", or_dash(error.and_then(|error| error.description.as_ref()))),
    ]
}
