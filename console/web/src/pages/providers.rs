//! The page of providers: budget, pauses, circuit, error rates.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use evergrant_domain::provider_state::ProviderStanding;
use evergrant_domain::settlement::TripReason;
use evergrant_domain::statistics::{MINUTE, ProviderCounts};
use evergrant_domain::{ProviderId, Timestamp};

use super::overview::standing_mood;
use super::token::Button;
use super::{Fact, or_dash};
use crate::Web;
use crate::fleet_snapshot::{FleetSnapshot, Minutes, ProviderWatch};
use crate::format::{self, ShownTime, visible, whole};
use crate::page_context::PageContext;
use crate::page_layout::{Nav, PageLayout, html};
use crate::problem::Problem;
use evergrant_operations::overview::{ProviderOverview, allowed_per_second, failed_percent};

#[derive(Template)]
#[template(path = "providers.html")]
struct Providers {
    frame: PageLayout,
    providers: Vec<ProviderView>,
}

struct ProviderView {
    name: String,
    standing: &'static str,
    mood: &'static str,
    advice: Option<String>,
    facts: Vec<Fact>,
    counts: Vec<Fact>,
    used_percent: Option<u64>,
    limits: String,
    buttons: Vec<Button>,
}

pub(crate) async fn page(
    State(web): State<Arc<Web>>,
    seen: PageContext,
) -> Result<Response, Problem> {
    let known = web.watcher.known();
    html(&Providers {
        frame: PageLayout::new(&web, &seen, "Providers", Nav::Providers),
        providers: known.providers.iter().map(|watch| view(&known, watch)).collect(),
    })
}

fn view(known: &FleetSnapshot, watch: &ProviderWatch) -> ProviderView {
    let now = known.now();
    let overview = known.overview(watch, now);
    let limits = overview.limits.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let standing = watch.state.as_ref().map(|_| &overview.standing);
    ProviderView {
        name: overview.provider.to_string(),
        standing: standing.map_or("unknown", ProviderStanding::as_str),
        mood: standing_mood(standing),
        advice: standing.and_then(|standing| advice(standing, now)),
        facts: facts(watch, &overview, &limits, now),
        counts: counts(known, watch, &overview, now),
        used_percent: overview.budget_used_percent.map(whole),
        limits,
        buttons: standing.map(buttons).unwrap_or_default(),
    }
}

fn advice(standing: &ProviderStanding, now: Timestamp) -> Option<String> {
    match standing {
        ProviderStanding::Open => None,
        ProviderStanding::Paused(pause) => {
            let until = match pause.until {
                None => "until an operator resumes it".to_owned(),
                Some(until) => format!("until {}", ShownTime::new(until, now).words()),
            };
            let since = ShownTime::new(pause.since, now).relative;
            let why = if pause.why.is_empty() { "no reason given" } else { &pause.why };
            Some(format!("Paused {since}, {until}: {}. Jobs wait; none is burned.", visible(why)))
        }
        ProviderStanding::Throttled { until } => Some(format!(
            "The provider asked for a pause. Requests continue {}.",
            ShownTime::new(*until, now).words()
        )),
        ProviderStanding::Tripped { reason, until } => {
            let what = match reason {
                TripReason::Misconfigured => {
                    "The provider rejects our client: check the client id, the secret, the token URL and \
                     the scope in the settings."
                }
                TripReason::Suspicious => {
                    "The provider calls unusually many grants dead at once, and is not believed. Check \
                     whether our client was changed there. If those users must sign in again indeed, \
                     confirm the deaths."
                }
                TripReason::Unreadable => {
                    "The provider's success holds no token where it is looked for. Unless it was a page \
                     or nothing, it is kept among the dead letters. Change the settings so that it can be \
                     read, then probe."
                }
            };
            let next = until.map_or_else(
                || "Nothing is sent until then.".to_owned(),
                |until| format!("The next probe is {}.", ShownTime::new(until, now).words()),
            );
            Some(format!("{what} {next}"))
        }
    }
}

fn facts(
    watch: &ProviderWatch,
    overview: &ProviderOverview,
    limits: &str,
    now: Timestamp,
) -> Vec<Fact> {
    let allowed = allowed_per_second(&overview.limits);
    let set_by = if overview.limits_set { "an operator" } else { "the settings" };
    let time = |at| or_dash(ShownTime::maybe(at, now).map(|when| when.words()));
    vec![
        (
            "Limits",
            match limits {
                "" => "none".to_owned(),
                limits => format!("{limits} (set by {set_by})"),
            },
        ),
        ("Allowed", or_dash(allowed.map(|allowed| format!("{} a second", format::rate(allowed))))),
        ("Token endpoint", or_dash(watch.provider.token_url.host_str())),
        ("Deaths believed until", time(overview.deaths_believed_until)),
        ("Client changed, unproven since", time(overview.client_changed_at)),
    ]
}

fn counts(
    known: &FleetSnapshot,
    watch: &ProviderWatch,
    overview: &ProviderOverview,
    now: Timestamp,
) -> Vec<Fact> {
    let hour = since(&known.minutes, &overview.provider, now.minus(60 * MINUTE));
    vec![
        ("Due", or_dash(watch.due.map(format::number))),
        ("Queued", or_dash(watch.queued.map(format::number))),
        ("In flight", overview.in_flight.to_string()),
        ("Errors, last 15 minutes", error_rate(&overview.lately)),
        ("Errors, last hour", error_rate(&hour)),
        ("Throttled, last hour", format::number(hour.throttled)),
    ]
}

/// Counts of one provider since a time.
fn since(minutes: &Minutes, id: &ProviderId, since: Timestamp) -> ProviderCounts {
    let mut all = ProviderCounts::default();
    minutes.range(since..).filter_map(|(_, of)| of.get(id)).for_each(|counts| all.add(counts));
    all
}

fn error_rate(counts: &ProviderCounts) -> String {
    let Some(percent) = failed_percent(counts) else { return "no exchanges".to_owned() };
    let (failures, exchanges) =
        (format::number(counts.failures()), format::number(counts.exchanges()));
    format!("{} % ({failures} of {exchanges})", whole(percent))
}

fn buttons(standing: &ProviderStanding) -> Vec<Button> {
    let button = |what, words, title| Button { what, words, title };
    let resume =
        button("resume", "Resume", "Ends the pause and the open circuit: the next job is sent");
    let probe = button("probe", "Probe", "Lets one request through now; its answer decides");
    let confirm = button(
        "confirm",
        "Confirm deaths",
        "For an hour, every death is believed, and the circuit closes",
    );
    match standing {
        ProviderStanding::Open => Vec::new(),
        ProviderStanding::Paused(_) | ProviderStanding::Throttled { .. } => vec![resume],
        ProviderStanding::Tripped { reason: TripReason::Suspicious, .. } => {
            vec![probe, confirm, resume]
        }
        ProviderStanding::Tripped { .. } => vec![probe, resume],
    }
}

/// The duration of a pause, from a form.
pub(super) fn pause_of(text: Option<&str>) -> Result<Option<Duration>, String> {
    let read = |text: &str| {
        humantime::parse_duration(text.trim()).map_err(|_| {
            "for: a time is written like 10m or 2h; empty means until resumed".to_owned()
        })
    };
    text.map(read).transpose()
}
