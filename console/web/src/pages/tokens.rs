//! The page of grants: search, page by page.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use evergrant_domain::{DocumentId, GrantStatus, Timestamp};
use evergrant_ports::{GrantFilter, GrantOrder, GrantPlace, GrantView, Store};
use futures::TryStreamExt;

use super::{Choice, mood, or_dash, typed};
use crate::Web;
use crate::fields::{Fields, Query};
use crate::fleet_snapshot::FleetSnapshot;
use crate::format::{self, ShownTime, visible};
use crate::page_context::PageContext;
use crate::page_layout::{Nav, PageLayout, html};
use crate::problem::Problem;

/// Rows per page.
const ROWS: usize = 50;
/// The times to choose from.
const DUE: [&str; 5] = ["0s", "1h", "1day", "7days", "30days"];
const EXPIRES: [&str; 4] = ["1h", "1day", "7days", "30days"];
/// The fields of a search.
const NAMES: [&str; 7] = ["user", "email", "id", "status", "provider", "due", "expires"];

#[derive(Template)]
#[template(path = "tokens.html")]
struct Tokens {
    frame: PageLayout,
    counts: String,
    query: SearchFields,
    statuses: Vec<Choice>,
    providers: Vec<Choice>,
    due: Vec<Choice>,
    expires: Vec<Choice>,
    filtered: bool,
    error: Option<String>,
    rows: Vec<TokenRow>,
    first: Option<String>,
    after: Option<String>,
}

/// The values of the search's fields.
struct SearchFields {
    user: String,
    email: String,
    id: String,
}

struct TokenRow {
    id: String,
    address: String,
    user: String,
    email: String,
    provider: String,
    status: String,
    mood: &'static str,
    refreshed: Option<ShownTime>,
    due: Option<ShownTime>,
    dies: Option<ShownTime>,
    error: String,
}

/// The page of a grant.
pub(super) fn address(id: &DocumentId) -> String {
    Fields::default().address("/tokens/show", &[("id", &typed(id))])
}

pub(crate) async fn page(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    Query(query): Query,
) -> Result<Response, Problem> {
    let known = web.watcher.known();
    let now = known.now();
    // An id is one grant, or none.
    if let Ok(Some(id)) = query.read::<DocumentId>("id") {
        let there = address(&id);
        if web.ask(|store| async move { store.get(&id).await }).await?.is_some() {
            return Ok(Redirect::to(&there).into_response());
        }
    }
    let mut error = query.get("id").map(|id| format!("There is no document with the _id {id}."));
    let (mut rows, mut order) = (Vec::new(), GrantOrder::Id);
    if error.is_none() {
        match read(&query, now) {
            Err(wrong) => error = Some(wrong),
            Ok(filter) => {
                order = filter.order();
                let list = |store: Arc<dyn Store>| async move {
                    store.list(filter).try_collect::<Vec<GrantView>>().await
                };
                rows = web.ask(list).await?;
            }
        }
    }
    let more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let last =
        rows.last().filter(|_| more).map(|grant| GrantPlace::from_grant(grant, order).to_string());
    let text = |name| query.get(name).unwrap_or_default().to_owned();
    html(&Tokens {
        frame: PageLayout::new(&web, &seen, "Tokens", Nav::Tokens),
        counts: counts(&known),
        query: SearchFields { user: text("user"), email: text("email"), id: text("id") },
        statuses: Choice::list(GrantStatus::ALL, query.get("status")),
        providers: Choice::providers(&web, &query),
        due: Choice::list(DUE, query.get("due")),
        expires: Choice::list(EXPIRES, query.get("expires")),
        filtered: NAMES.iter().any(|name| query.get(name).is_some()),
        error: error.map(|words| visible(&words)),
        rows: rows.iter().map(|grant| row(grant, now)).collect(),
        first: query.get("after").map(|_| query.address("/tokens", &[("after", "")])),
        after: last.map(|last| query.address("/tokens", &[("after", &last)])),
    })
}

fn read(query: &Fields, now: Timestamp) -> Result<GrantFilter, String> {
    let within = |name: &str| -> Result<Option<Timestamp>, String> {
        let time = query.read::<humantime::Duration>(name)?;
        Ok(time.map(|time| now.plus(*time)))
    };
    let text = |name| query.get(name).map(|text| text.trim().to_owned());
    let email = text("email");
    let prefix = email.as_deref().and_then(|email| email.strip_suffix('*')).map(str::to_owned);
    Ok(GrantFilter {
        provider: query.read("provider")?,
        status: query.read("status")?,
        user: text("user"),
        email: email.filter(|_| prefix.is_none()),
        email_prefix: prefix,
        due_by: within("due")?,
        expires_by: within("expires")?,
        after: query.read("after")?,
        limit: Some(ROWS as u64 + 1),
    })
}

fn counts(known: &FleetSnapshot) -> String {
    let total: u64 = known.grants.iter().map(|count| count.count).sum();
    let of = |status: GrantStatus| {
        let counted = known.grants.iter().filter(|count| count.status == Some(status));
        format!("{} {status}", format::number(counted.map(|count| count.count).sum()))
    };
    let each = GrantStatus::ALL.map(of).join(", ");
    format!("{} documents: {each}", format::number(total))
}

fn row(grant: &GrantView, now: Timestamp) -> TokenRow {
    let error = grant.last_error.as_ref().map(|error| match &error.code {
        Some(code) => format!("{} {code}", error.reason.as_str()),
        None => error.reason.as_str().to_owned(),
    });
    TokenRow {
        id: visible(&grant.id.to_string()),
        address: address(&grant.id),
        user: or_dash(grant.user.as_ref()),
        email: or_dash(grant.email.as_ref()),
        provider: or_dash(grant.provider.as_ref()),
        status: grant.status.map_or_else(|| "not adopted yet".to_owned(), |s| s.to_string()),
        mood: mood(grant.status),
        refreshed: ShownTime::maybe(grant.refreshed_at, now),
        due: ShownTime::maybe(grant.next_refresh_at, now),
        dies: ShownTime::maybe(grant.refresh_idle_until, now),
        error: error.map(|error| visible(&error)).unwrap_or_default(),
    }
}
