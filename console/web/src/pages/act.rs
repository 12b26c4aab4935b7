//! Actions on one grant or one provider. Each is recorded before it begins.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use evergrant_domain::limit::{RateLimit, contradiction};
use evergrant_domain::{DocumentId, GrantStatus};
use evergrant_ports::{ChangeResult, GrantChange};

use super::providers::pause_of;
use super::{provider_of, tokens};
use crate::Web;
use crate::fields::Fields;
use crate::page_context::{Effect, Form, PageContext};
use crate::problem::Problem;
use evergrant_operations::operator::{ActingOperator, ProviderChange, RefreshResult};

/// The longest reason.
const WHY_MAX: usize = 500;

/// The operator's reason.
pub(super) fn why_of(form: &Fields) -> String {
    form.get("why").unwrap_or_default().trim().chars().take(WHY_MAX).collect()
}

/// The operator, with the reason.
fn operator(web: &Web, seen: &PageContext, form: &Fields) -> Result<ActingOperator, Problem> {
    let (store, who) = (Arc::clone(&web.store), seen.who()?.name.clone());
    Ok(ActingOperator { store, who, why: why_of(form) })
}

/// Refresh, pause, resume or forget one grant.
pub(crate) async fn token(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    Form(form): Form,
) -> Result<Response, Problem> {
    let text = form.get("id").unwrap_or_default();
    let id: DocumentId = text.parse().map_err(|error| Problem::bad(format!("{error}")))?;
    let back = tokens::address(&id);
    let operator = operator(&web, &seen, &form)?;
    let done = match form.get("do") {
        Some("refresh") => {
            let refreshed = operator.refresh_grant(&*web.queue, &id, web.queued_for).await?;
            told_of_refresh(&web, refreshed)
        }
        Some("pause") => told_of(operator.change_grant(&id, GrantChange::Pause).await?, PAUSED),
        Some("resume") => told_of(operator.change_grant(&id, GrantChange::Resume).await?, RESUMED),
        Some("forget") => {
            told_of(operator.change_grant(&id, GrantChange::Forget).await?, FORGOTTEN)
        }
        _ => Err(Problem::bad("Choose an action.")),
    };
    web.watcher.look_again();
    let words = done.map_err(|problem| problem.or_go("The grant", back.clone()))?;
    Ok(Effect::Flash(words).and_go(&back))
}

const PAUSED: &str = "Paused: it is not refreshed until an operator resumes it.";
const RESUMED: &str = "Resumed.";
const WAITS_FOR_ANSWER: &str = "The new tokens are not in the document yet, and to send the old one would lose \
    them. Redrive its dead letter (uncommitted_answer) instead. Nothing was done.";
const FORGOTTEN: &str = "Forgotten. The document stays unchanged.";

fn told_of(changed: ChangeResult, done: &str) -> Result<String, Problem> {
    match changed {
        ChangeResult::Applied => Ok(done.to_owned()),
        ChangeResult::NotIn(status) => {
            let status = status.map_or("not adopted yet", GrantStatus::as_str);
            Err(Problem::bad(format!(
                "The grant is {status} by now. Only active ones are paused, and only paused ones \
                 resumed. Nothing was done."
            )))
        }
        ChangeResult::UnderWay => Err(Problem::bad(
            "A worker is refreshing the grant, and its new tokens would be lost. Nothing was \
             done; try again in a minute.",
        )),
        ChangeResult::WaitsForAnswer => Err(Problem::bad(WAITS_FOR_ANSWER)),
        ChangeResult::Absent => Err(Problem::not_found("The document is gone. Nothing was done.")),
    }
}

fn told_of_refresh(web: &Web, refreshed: RefreshResult) -> Result<String, Problem> {
    match refreshed {
        RefreshResult::Queued(provider) => {
            let known = web.watcher.known();
            let state = known.provider(&provider).and_then(|watch| watch.state.as_ref());
            let shut = state.is_some_and(|state| state.shut_until(known.now()).is_some());
            Ok(if shut {
                format!(
                    "Queued. {provider} is paused or stopped: the grant is refreshed when it resumes."
                )
            } else {
                "Queued: a worker refreshes it at once.".to_owned()
            })
        }
        RefreshResult::NotActive(Some(GrantStatus::Paused)) => {
            Err(Problem::bad("The grant is paused: resume it first. Nothing was done."))
        }
        RefreshResult::NotActive(_) => {
            Err(Problem::bad("The producer has not adopted the document yet. Nothing was done."))
        }
        RefreshResult::WaitsForAnswer => Err(Problem::bad(WAITS_FOR_ANSWER)),
        RefreshResult::Absent => Err(Problem::not_found("The document is gone. Nothing was done.")),
    }
}

/// Pause, resume, probe, confirm deaths at, or set the limits of a provider.
pub(crate) async fn provider(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    Form(form): Form,
) -> Result<Response, Problem> {
    let provider = provider_of(&web, &form)?;
    let operator = operator(&web, &seen, &form)?;
    let bad =
        |text: String| Problem::bad(text + " Nothing was done.").or_go("Providers", "/providers");
    if form.get("do") == Some("pause") && operator.why.is_empty() {
        return Err(bad("Give a reason: other operators will want to know it.".to_owned()));
    }
    let (change, past) = asked(&form).map_err(bad)?;
    operator.change_provider(&provider, &change).await?;
    web.watcher.look().await;
    let words = format!("{provider}: {past}. All workers act on it within a second.");
    Ok(Effect::Flash(words).and_go(&format!("/providers#{provider}")))
}

/// The change in a form, and the message when it is done.
fn asked(form: &Fields) -> Result<(ProviderChange, &'static str), String> {
    Ok(match form.get("do") {
        Some("pause") => (ProviderChange::Pause(pause_of(form.get("for"))?), "paused"),
        Some("resume") => (ProviderChange::Resume, "resumed"),
        Some("probe") => (ProviderChange::Probe, "a request may pass"),
        Some("confirm") => (ProviderChange::Confirm, "deaths are believed for an hour"),
        Some("limit") => {
            let read =
                |text: &str| text.trim().parse::<RateLimit>().map_err(|e| format!("limits: {e}."));
            let limits = form.get("limits").unwrap_or_default().split(',');
            let limits = limits.map(read).collect::<Result<Vec<_>, _>>()?;
            if let Some(contradiction) = contradiction(&limits) {
                return Err(format!("limits: {contradiction}."));
            }
            (ProviderChange::Limit(Some(limits)), "the limits are set")
        }
        Some("limit-reset") => (ProviderChange::Limit(None), "the limits of the settings apply"),
        _ => return Err("Choose an action.".to_owned()),
    })
}
