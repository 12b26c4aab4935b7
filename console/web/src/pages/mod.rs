//! The pages. Each is a typed template, filled from the console's state.

pub(super) mod act;
pub(super) mod audit;
pub(super) mod bulk;
pub(super) mod confirm;
pub(super) mod dead_letters;
pub(super) mod letter;
pub(super) mod overview;
pub(super) mod providers;
pub(super) mod summary_row;
pub(super) mod token;
pub(super) mod tokens;
pub(super) mod workers;

use std::sync::Arc;

use askama::Template;
use axum::response::{IntoResponse, Response};
use evergrant_domain::{DocumentId, GrantStatus, ProviderId};

use super::Web;
use super::fields::Fields;
use super::format;
use super::page_context::{Effect, Form, PageContext, Theme};
use super::page_layout::{Nav, PageLayout, html};
use super::problem::Problem;

/// A choice in a form.
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) chosen: bool,
}

impl Choice {
    /// All of `names`, the chosen one marked.
    fn list(names: impl IntoIterator<Item = impl ToString>, chosen: Option<&str>) -> Vec<Self> {
        let choice = |name: String| Self { chosen: chosen == Some(name.as_str()), name };
        names.into_iter().map(|name| choice(name.to_string())).collect()
    }

    fn providers(web: &Web, query: &Fields) -> Vec<Self> {
        Self::list(web.providers.iter().map(|provider| &provider.id), query.get("provider"))
    }
}

/// A name and a value.
pub(super) type Fact = (&'static str, String);

/// The text for a missing value.
fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format::visible(&value.to_string()))
}

/// An id in a form that parses to the same id: as people see it or, if that would be another id, as
/// JSON.
pub(super) fn typed(id: &DocumentId) -> String {
    let text = id.to_string();
    if text.trim() == text && text.parse().as_ref() == Ok(id) {
        return text;
    }
    serde_json::to_string(id).unwrap_or(text)
}

/// The colour of a status.
const fn mood(status: Option<GrantStatus>) -> &'static str {
    match status {
        Some(GrantStatus::Active) => "good",
        Some(GrantStatus::NeedsReauth | GrantStatus::Failed) => "bad",
        Some(GrantStatus::Paused) => "careful",
        Some(GrantStatus::NoToken) | None => "",
    }
}

/// The provider in a form or an address, if it is configured.
fn provider_of(web: &Web, fields: &Fields) -> Result<ProviderId, Problem> {
    let name = fields.get("provider").unwrap_or_default();
    let known = web.providers.iter().find(|provider| provider.id.as_str() == name);
    known.map(|provider| provider.id.clone()).ok_or_else(|| {
        let names = web.providers.iter().map(|provider| provider.id.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        Problem::not_found(format!("There is no provider {name:?}. There are: {names}."))
            .or_go("Providers", "/providers")
    })
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: PageLayout,
    title: &'a str,
    text: String,
    next: &'a [(String, String)],
}

/// A page about a problem.
pub(super) fn problem(web: &Arc<Web>, seen: &PageContext, problem: &Problem) -> Response {
    let frame = PageLayout::new(web, seen, &problem.title, Nav::None);
    let home = [("Overview".to_owned(), "/".to_owned())];
    let next = if problem.next.is_empty() { &home } else { problem.next.as_slice() };
    let text = format::visible(&problem.text);
    let page = ProblemPage { frame, title: &problem.title, text, next };
    match html(&page) {
        Ok(page) => (problem.status, page).into_response(),
        Err(_) => problem.status.into_response(),
    }
}

/// For unknown addresses.
pub(super) async fn not_found() -> Problem {
    Problem::not_found("Check the address, or choose one of the pages above.")
}

/// Light or dark.
pub(super) async fn theme(seen: PageContext, Form(form): Form) -> Response {
    let theme = Theme::from_name(form.get("theme").unwrap_or_default());
    Effect::Theme(theme).and_go(&seen.here)
}
