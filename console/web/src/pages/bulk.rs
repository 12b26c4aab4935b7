//! The page of the bulk action: start, progress, cancel.

use std::num::NonZeroU32;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use evergrant_domain::Timestamp;
use evergrant_domain::audit::ActionOutcome;
use evergrant_ports::wall_clock;

use super::act::why_of;
use super::audit::mood;
use super::confirm::{COUNT, CUTOFF};
use super::{Fact, or_dash};
use crate::Web;
use crate::bulk::{BulkProgress, Order};
use crate::fields::Fields;
use crate::filter;
use crate::format::{self, ShownTime, visible};
use crate::page_context::{Effect, Form, PageContext};
use crate::page_layout::{Nav, PageLayout, html};
use crate::problem::Problem;
use evergrant_operations::bulk::{BulkKind, BulkRequest, ResumeError};

/// The address of the page.
const PAGE: &str = "/dead-letters/bulk";

#[derive(Template)]
#[template(path = "bulk.html")]
struct BulkPage {
    frame: PageLayout,
    part: Part,
}

/// The live part.
#[derive(Template)]
#[template(path = "bulk_live.html")]
struct Live {
    part: Part,
}

struct Part {
    exists: bool,
    is_running: bool,
    title: String,
    outcome: &'static str,
    mood: &'static str,
    max: u64,
    done: u64,
    facts: Vec<Fact>,
}

pub(crate) async fn page(
    State(web): State<Arc<Web>>,
    seen: PageContext,
) -> Result<Response, Problem> {
    let frame = PageLayout::new(&web, &seen, "Bulk action", Nav::DeadLetters);
    html(&BulkPage { frame, part: describe(web.bulk.last().as_ref()) })
}

/// The present content of the live part.
pub(crate) fn part(running: &BulkProgress) -> String {
    Live { part: describe(Some(running)) }.render().unwrap_or_default()
}

fn describe(running: Option<&BulkProgress>) -> Part {
    let Some(running) = running else {
        return Part {
            exists: false,
            is_running: false,
            title: String::new(),
            outcome: "",
            mood: "",
            max: 1,
            done: 0,
            facts: Vec::new(),
        };
    };
    let now = wall_clock();
    let took = running.ended_at.unwrap_or(now).since(running.began_at).as_secs();
    let settled = running.done + running.left;
    let matched = running.matched.unwrap_or(settled);
    let mut facts = vec![
        ("Done", format!("{} of {}", format::number(running.done), format::number(matched))),
        ("Failed", format::number(running.left)),
        ("Which", visible(&running.which)),
        ("Why", visible(&running.why)),
        ("Who", visible(&running.who)),
        ("At most, per second", or_dash(running.rps)),
        ("Began", ShownTime::new(running.began_at, now).words()),
        ("Takes", format::span(took)),
    ];
    if !running.detail.is_empty() {
        facts.push(("Details", visible(&running.detail)));
    }
    Part {
        exists: true,
        is_running: running.is_running(),
        title: running.verb().to_owned(),
        outcome: running.outcome.as_str(),
        mood: mood(running.outcome),
        max: matched.max(1),
        // An action without letters is complete.
        done: if running.outcome == ActionOutcome::Done { matched.max(1) } else { settled },
        facts,
    }
}

/// Begins a redrive or a discard.
pub(crate) async fn act(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    Form(form): Form,
) -> Result<Response, Problem> {
    let back = form.address("/dead-letters", &[("do", ""), (filter::PICK, ""), ("csrf", "")]);
    let bad = |text: String| {
        Problem::bad(format!("{text} Nothing was done.")).or_go("Dead letters", back.clone())
    };
    let kind = match form.get("do") {
        Some("redrive") => BulkKind::Redrive,
        Some("discard") => BulkKind::Discard,
        _ => return Err(bad("Choose an action: redrive or discard.".to_owned())),
    };
    let why = why_of(&form);
    if why.is_empty() {
        return Err(bad("Give a reason: the audit record keeps it.".to_owned()));
    }
    if kind == BulkKind::Discard && form.get("sure").is_none() {
        return Err(
            bad("Discarded letters cannot be brought back: tick that you know.".to_owned()),
        );
    }
    let positive = |name: &str| {
        let read = form.read::<NonZeroU32>(name);
        read.map_err(|_| format!("{name}: it must be a whole number from 1 on."))
    };
    let picked = filter::picked(&form).map_err(bad)?;
    let read = filter::read(&form).map_err(bad)?;
    let limit = positive("limit").map_err(bad)?.map(|limit| u64::from(limit.get()));
    let per_second = positive("rps").map_err(bad)?;
    let request = BulkRequest {
        picked,
        limit,
        per_second,
        uncommitted_answers: form.get("uncommitted").is_some(),
        ..BulkRequest::new(kind, read, shown_at(&web, &form).await?)
    };
    let counted = match &web.letters.latest().await.taken {
        Some(taken) => {
            let matching = filter::matching(&web, taken, &request.filter, &request.picked).await?;
            Some(filter::meant(&request, &matching).matched)
        }
        None => None,
    };
    let shown = form.read::<u64>(COUNT).map_err(bad)?;
    if let (Some(counted), Some(shown)) = (counted, shown)
        && counted > shown
    {
        return Err(bad(format!("{shown} matched when you were asked, and {counted} do now.")));
    }
    let order = Order {
        which: filter::words(&form, &request.picked),
        matched: counted.map(|counted| limit.map_or(counted, |limit| limit.min(counted))),
        who: seen.who()?.name.clone(),
        why,
        request,
    };
    web.begin_bulk(order).await?;
    Ok(Effect::Flash("Started. It continues when you leave this page.".to_owned()).and_go(PAGE))
}

/// When the letters of the form were counted. A form without that time means the letters of now,
/// and none of the future.
async fn shown_at(web: &Web, form: &Fields) -> Result<Timestamp, Problem> {
    let now = web.engine().cutoff().await?;
    let shown = form.read::<Timestamp>(CUTOFF).map_err(Problem::bad)?;
    Ok(shown.map_or(now, |shown| shown.min(now)))
}

/// Resumes an action that was cancelled, has failed, or whose process died.
pub(crate) async fn resume(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    Form(form): Form,
) -> Result<Response, Problem> {
    let id = form.get("id").unwrap_or_default();
    let bad = |error: ResumeError| match error {
        ResumeError::Store(error) => error.into(),
        other => {
            Problem::bad(format!("{other}. Nothing was started.")).or_go("Audit record", "/audit")
        }
    };
    let engine = web.engine();
    let (before, request) = engine.rest_of(id).await.map_err(bad)?;
    let order = Order {
        which: format!("the rest of {}", before.id),
        matched: None,
        who: seen.who()?.name.clone(),
        why: before.why.clone(),
        request,
    };
    let next = web.begin_bulk(order).await?;
    engine.hand_over(&before, &next).await?;
    Ok(Effect::Flash("It continues with the rest.".to_owned()).and_go(PAGE))
}

/// Ends the bulk action early.
pub(crate) async fn cancel(State(web): State<Arc<Web>>, Form(_): Form) -> Response {
    let words = if web.bulk.cancel() {
        "It ends after the current letter. What is done stays done; the rest stays in the queue."
    } else {
        "There is nothing to cancel: the action has ended."
    };
    Effect::Flash(words.to_owned()).and_go(PAGE)
}
