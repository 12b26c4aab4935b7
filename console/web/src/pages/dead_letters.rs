//! The page of dead letters: by provider and reason, and one by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use evergrant_domain::{DeadReason, DocumentId, Timestamp};
use evergrant_ports::{Store, StoreError, wall_clock};
use futures::stream;
use futures::{StreamExt, TryStreamExt};

use super::{Choice, or_dash, typed};
use crate::Web;
use crate::fields::{Fields, Query};
use crate::filter;
use crate::format::{self, ShownTime, visible};
use crate::letters::{self, Letter};
use crate::page_context::PageContext;
use crate::page_layout::{Nav, PageLayout, html};
use crate::problem::Problem;
use evergrant_operations::letters::{LetterFilter, LetterGroup};

/// Rows per page.
const ROWS: usize = 50;
/// Documents that are looked up concurrently for a page.
const LOOKUPS_MAX: usize = 10;

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLetters {
    frame: PageLayout,
    as_of: String,
    bulk: Option<String>,
    beyond: Option<String>,
    revived: Option<String>,
    groups: Vec<GroupRow>,
    none: &'static str,
    providers: Vec<Choice>,
    reasons: Vec<Choice>,
    query: FilterFields,
    filtered: bool,
    error: Option<String>,
    rows: Vec<LetterRow>,
    hidden: Vec<(String, String)>,
    matched: String,
    from: String,
    to: String,
    before: Option<String>,
    after: Option<String>,
}

/// The values of the filter's fields.
struct FilterFields {
    user: String,
    email: String,
    id: String,
    since: String,
    until: String,
}

struct GroupRow {
    provider: String,
    reason: &'static str,
    address: String,
    chosen: bool,
    count: String,
    redriven: String,
    first: ShownTime,
    last: ShownTime,
    remedy: &'static str,
}

struct LetterRow {
    id: String,
    pick: Option<String>,
    address: String,
    user: String,
    provider: String,
    reason: &'static str,
    answer: String,
    attempts: u32,
    redriven: u32,
    last: ShownTime,
}

pub(crate) async fn page(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    Query(query): Query,
) -> Result<Response, Problem> {
    let dead = web.letters.latest().await;
    let now = wall_clock();
    let mut error = None;
    let read = filter::read(&query).unwrap_or_else(|wrong| {
        error = Some(format!("{wrong}. All are shown."));
        LetterFilter::default()
    });
    let filtered = error.is_none() && filter::NAMES.iter().any(|name| query.get(name).is_some());
    let matched = match &dead.taken {
        None => Vec::new(),
        Some(taken) => match filter::matching(&web, taken, &read, &BTreeSet::new()).await {
            Ok(matched) => matched,
            Err(away) => {
                error = Some(format!("Users cannot be looked up: {}", away.text));
                Vec::new()
            }
        },
    };
    let skip = query.read::<usize>("skip").ok().flatten().unwrap_or(0).min(matched.len());
    let shown = &matched[skip..matched.len().min(skip + ROWS)];
    let rows = rows(&web, shown, now).await;
    let turn =
        |skip: usize| query.address("/dead-letters", &[("skip", &skip.to_string())]) + "#letters";
    let text = |name| query.get(name).unwrap_or_default().to_owned();
    let groups = dead.taken.iter().flat_map(|taken| &taken.groups);
    html(&DeadLetters {
        frame: PageLayout::new(&web, &seen, "Dead letters", Nav::DeadLetters),
        as_of: as_of(&dead, now),
        bulk: web.bulk.running().map(|running| running.words()),
        beyond: beyond(&dead),
        revived: revived(&dead),
        groups: groups.map(|group| group_row(group, &query, now)).collect(),
        none: none(&dead),
        providers: Choice::providers(&web, &query),
        reasons: Choice::list(DeadReason::ALL, query.get("reason")),
        query: FilterFields {
            user: text("user"),
            email: text("email"),
            id: text("id"),
            since: text("since"),
            until: text("until"),
        },
        filtered,
        error: error.map(|words| visible(&words)),
        hidden: filter::hidden(&query, &BTreeSet::new()),
        matched: format::number(matched.len() as u64),
        from: format::number(skip as u64 + 1),
        to: format::number((skip + shown.len()) as u64),
        before: (skip > 0).then(|| turn(skip.saturating_sub(ROWS))),
        after: (skip + shown.len() < matched.len()).then(|| turn(skip + ROWS)),
        rows,
    })
}

fn as_of(dead: &letters::LettersView, now: Timestamp) -> String {
    let taken = dead.taken.as_ref().map(|taken| ShownTime::new(taken.at, now).relative);
    let taken = taken.map_or_else(|| "Not read yet".to_owned(), |at| format!("Looked at {at}"));
    let busy = "; not renewed while a bulk action runs";
    if dead.busy { taken + busy } else { taken }
}

fn none(dead: &letters::LettersView) -> &'static str {
    match &dead.taken {
        None => "They are being read: reload the page in a moment.",
        Some(_) => "None: nobody is losing access.",
    }
}

fn beyond(dead: &letters::LettersView) -> Option<String> {
    let beyond = dead.taken.as_ref()?.beyond();
    let words = "more are counted above, but not shown one by one here: evergrant dlq show does";
    (beyond > 0).then(|| format!("{} {words}.", format::number(beyond)))
}

/// A note about letters of grants that live again.
fn revived(dead: &letters::LettersView) -> Option<String> {
    let revived = dead.taken.as_ref()?.revived;
    (revived > 0).then(|| format::number(revived))
}

fn group_row(group: &LetterGroup, query: &Fields, now: Timestamp) -> GroupRow {
    let (provider, reason) = (group.provider.to_string(), group.reason.as_str());
    let only = Fields::default();
    GroupRow {
        address: only.address("/dead-letters", &[("provider", &provider), ("reason", reason)])
            + "#letters",
        chosen: query.get("reason") == Some(reason) && query.get("provider") == Some(&provider),
        provider,
        reason,
        count: format::number(group.count),
        redriven: format::number(group.redriven),
        first: ShownTime::new(group.first_at, now),
        last: ShownTime::new(group.last_at, now),
        remedy: group.reason.remedy(),
    }
}

/// The letters with their users, as far as the store answers.
async fn rows(web: &Web, shown: &[&Letter], now: Timestamp) -> Vec<LetterRow> {
    let ids: Vec<_> = shown.iter().map(|letter| letter.letter.id.clone()).collect();
    let look_up = |store: Arc<dyn Store>| async move {
        let user = |id: Option<DocumentId>| {
            let store = Arc::clone(&store);
            async move {
                let Some(id) = id else { return Ok(None) };
                Ok::<_, StoreError>(
                    store.get(&id).await?.and_then(|grant| grant.email.or(grant.user)),
                )
            }
        };
        stream::iter(ids.into_iter().map(user)).buffered(LOOKUPS_MAX).try_collect().await
    };
    let nobody = || vec![None; shown.len()];
    let users: Vec<Option<String>> = web.ask(look_up).await.unwrap_or_else(|_| nobody());
    shown.iter().zip(users).map(|(letter, user)| row(letter, user, now)).collect()
}

fn row(shown: &Letter, user: Option<String>, now: Timestamp) -> LetterRow {
    let letter = &shown.letter;
    let status = letter.http_status.map(|status| status.to_string());
    let answer: Vec<_> = [status, letter.code.clone()].into_iter().flatten().collect();
    LetterRow {
        id: or_dash(letter.id.as_ref()),
        pick: letter.id.as_ref().map(typed),
        address: address(shown),
        user: or_dash(user),
        provider: letter.provider.to_string(),
        reason: letter.reason.as_str(),
        answer: visible(&answer.join(" ")),
        attempts: letter.attempts,
        redriven: letter.redrive_count,
        last: ShownTime::new(letter.last_failed_at, now),
    }
}

fn address(shown: &Letter) -> String {
    let provider = shown.letter.provider.to_string();
    Fields::default().address("/dead-letters/show", &[("provider", &provider), ("key", &shown.key)])
}
