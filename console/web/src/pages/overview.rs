//! The overview page.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use evergrant_domain::forecast::{Forecast, ForecastHorizon};
use evergrant_domain::heartbeat::Heartbeat;
use evergrant_domain::provider_state::ProviderStanding;
use evergrant_domain::statistics::{MINUTE, ProviderCounts};
use evergrant_domain::{GrantStatus, ProviderId, Timestamp};
use evergrant_ports::wall_clock;

use crate::Web;
use crate::chart::{Chart, sum};
use crate::fleet_snapshot::{FleetSnapshot, ProviderWatch};
use crate::format::{self, ShownTime, whole};
use crate::letters;
use crate::page_context::PageContext;
use crate::page_layout::{Nav, PageLayout, html};
use crate::problem::Problem;
use evergrant_operations::overview::{DUE_MAX, refreshed_per_second};

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: PageLayout,
    live: Live,
}

/// The live part.
#[derive(Template)]
#[template(path = "overview_live.html")]
struct Part {
    live: Live,
}

struct Live {
    /// What is unavailable.
    alerts: Vec<String>,
    as_of: String,
    figures: Vec<Figure>,
    charts: Vec<Chart>,
    providers: Vec<ProviderRow>,
    dead: Vec<DeadRow>,
    dead_words: String,
    forecasts: Vec<ForecastRow>,
    forecast_at: String,
}

struct Figure {
    id: &'static str,
    label: &'static str,
    value: String,
    more: String,
    mood: &'static str,
}

impl Figure {
    fn new(id: &'static str, label: &'static str, value: String, more: impl Into<String>) -> Self {
        Self { id, label, value, more: more.into(), mood: "" }
    }
}

struct ProviderRow {
    name: String,
    standing: &'static str,
    mood: &'static str,
    due: String,
    queued: String,
    in_flight: String,
    per_second: String,
    used_percent: Option<u64>,
}

struct DeadRow {
    reason: &'static str,
    count: String,
    remedy: &'static str,
}

struct ForecastRow {
    provider: String,
    within: String,
    refreshes: String,
    expiring: String,
    loses: bool,
    slack: String,
    needed: String,
    done: String,
}

pub(crate) async fn page(
    State(web): State<Arc<Web>>,
    seen: PageContext,
) -> Result<Response, Problem> {
    web.letters.latest().await;
    let frame = PageLayout::new(&web, &seen, "Overview", Nav::Overview);
    // The live part shows them.
    let frame = PageLayout { alerts: Vec::new(), ..frame };
    html(&Overview { frame, live: live(&web) })
}

/// The present content of the live part.
pub(crate) fn part(web: &Web) -> String {
    Part { live: live(web) }.render().unwrap_or_default()
}

fn live(web: &Web) -> Live {
    let (known, dead) = (web.watcher.known(), web.letters.seen());
    let (known, dead) = (&*known, &dead);
    let now = known.now();
    let (forecasts, forecast_at) = forecasts(known, now);
    Live {
        alerts: web.alerts(),
        as_of: format::clock(now),
        figures: figures(known, dead, now),
        charts: vec![Chart::hour(&known.minutes, now), Chart::day(&known.minutes, now)],
        providers: known.providers.iter().map(|watch| provider(known, watch, now)).collect(),
        dead: dead
            .taken
            .iter()
            .flat_map(|taken| taken.of_reason())
            .map(|(reason, count)| DeadRow {
                reason: reason.as_str(),
                count: format::number(count),
                remedy: reason.remedy(),
            })
            .collect(),
        dead_words: match &dead.taken {
            None => "Not read yet.".to_owned(),
            Some(taken) => {
                let at = ShownTime::new(taken.at, wall_clock()).relative;
                let none = if taken.total == 0 { "None: nobody is losing access. " } else { "" };
                format!("{none}Looked at {at}.")
            }
        },
        forecasts,
        forecast_at,
    }
}

/// The forecast, and when it was made.
fn forecasts(known: &FleetSnapshot, now: Timestamp) -> (Vec<ForecastRow>, String) {
    let Some((at, forecasts)) = &known.outlook else { return (Vec::new(), String::new()) };
    let rows = forecasts.iter().flat_map(|(provider, forecast)| {
        forecast.horizons.iter().map(move |horizon| ahead(provider, forecast, horizon, now))
    });
    (rows.collect(), ShownTime::new(*at, wall_clock()).relative)
}

fn figures(known: &FleetSnapshot, dead: &letters::LettersView, now: Timestamp) -> Vec<Figure> {
    let hour = sum(&known.minutes, now.minus(60 * MINUTE), now.plus(MINUTE));
    let [active, due, queued] = waiting(known);
    let [in_flight, rate, budget] = under_way(known, &hour, now);
    let [retries, letters] = failed(dead, &hour);
    vec![active, due, queued, in_flight, rate, budget, retries, letters]
}

/// The work that waits.
fn waiting(known: &FleetSnapshot) -> [Figure; 3] {
    let counted = |status| -> u64 {
        let of_status = known.grants.iter().filter(|count| count.status == Some(status));
        of_status.map(|count| count.count).sum()
    };
    let sum_of = |of: fn(&ProviderWatch) -> Option<u64>| -> Option<u64> {
        known.providers.iter().map(of).sum()
    };
    let due = match sum_of(|watch| watch.due) {
        Some(due) if due >= DUE_MAX => format!("{}+", format::number(due)),
        due => super::or_dash(due.map(format::number)),
    };
    let queued = super::or_dash(sum_of(|watch| watch.queued).map(format::number));
    let others = format!(
        "{} need sign-in, {} failed, {} paused, {} without a token",
        format::number(counted(GrantStatus::NeedsReauth)),
        format::number(counted(GrantStatus::Failed)),
        format::number(counted(GrantStatus::Paused)),
        format::number(counted(GrantStatus::NoToken))
    );
    let active = format::number(counted(GrantStatus::Active));
    [
        Figure::new("active", "Active grants", active, others),
        Figure::new("due", "Due", due, "and not queued yet"),
        Figure::new("queued", "Queued", queued, "jobs that wait"),
    ]
}

/// The work under way.
fn under_way(known: &FleetSnapshot, hour: &ProviderCounts, now: Timestamp) -> [Figure; 3] {
    let living = known.processes.iter().filter(|process| !process.is_gone(now));
    let in_flight: u32 = living.map(Heartbeat::in_flight).sum();
    let per_second = refreshed_per_second(known.processes.iter(), None, now);
    let used = |watch| known.overview(watch, now).budget_used_percent.map(whole);
    let used = known.providers.iter().filter_map(used).max();
    let in_the_hour = format!("{} in the last hour", format::number(hour.refreshed));
    let used = super::or_dash(used.map(|used| format!("{used} %")));
    [
        Figure::new("in-flight", "In flight", in_flight.to_string(), "requests under way"),
        Figure::new("rate", "Refreshed/s", format::rate(per_second), in_the_hour),
        Figure::new("budget", "Budget used", used, "of the busiest provider's limit"),
    ]
}

/// What failed.
fn failed(dead: &letters::LettersView, hour: &ProviderCounts) -> [Figure; 2] {
    let total = dead.taken.as_ref().map(|taken| taken.total);
    let is_much = hour.retried > 10 && hour.retried > hour.refreshed / 4;
    let throttled = format!("in the last hour; {} throttled", format::number(hour.throttled));
    let new = format!("{} new in the last hour", format::number(hour.dead_in_all()));
    let retries = Figure::new("retries", "Retries", format::number(hour.retried), throttled);
    let letters =
        Figure::new("dead", "Dead letters", super::or_dash(total.map(format::number)), new);
    let mood = if total.is_some_and(|total| total > 0) { "bad" } else { "" };
    [Figure { mood: if is_much { "careful" } else { "" }, ..retries }, Figure { mood, ..letters }]
}

fn provider(known: &FleetSnapshot, watch: &ProviderWatch, now: Timestamp) -> ProviderRow {
    let overview = known.overview(watch, now);
    let standing = watch.state.as_ref().map(|_| &overview.standing);
    ProviderRow {
        name: overview.provider.to_string(),
        standing: standing.map_or("unknown", ProviderStanding::as_str),
        mood: standing_mood(standing),
        due: super::or_dash(watch.due.map(format::number)),
        queued: super::or_dash(watch.queued.map(format::number)),
        in_flight: overview.in_flight.to_string(),
        per_second: format::rate(overview.refreshed_per_second),
        used_percent: overview.budget_used_percent.map(whole),
    }
}

/// The colour of a provider's state.
pub(super) const fn standing_mood(standing: Option<&ProviderStanding>) -> &'static str {
    match standing {
        Some(ProviderStanding::Open) => "good",
        Some(ProviderStanding::Paused(_) | ProviderStanding::Throttled { .. }) => "careful",
        Some(ProviderStanding::Tripped { .. }) => "bad",
        None => "",
    }
}

fn ahead(
    provider: &ProviderId,
    forecast: &Forecast,
    horizon: &ForecastHorizon,
    now: Timestamp,
) -> ForecastRow {
    let expiring = horizon.expiring_unrefreshed + forecast.dead_already;
    ForecastRow {
        provider: provider.to_string(),
        within: format!("{} days", horizon.days),
        refreshes: format::number(horizon.refreshes),
        expiring: format::number(expiring),
        loses: expiring > 0,
        slack: super::or_dash(horizon.slack_s.map(|s| {
            let span = format::span(s.unsigned_abs());
            if s < 0 { format!("–{span}") } else { span }
        })),
        needed: super::or_dash(horizon.rate_needed_per_s.map(|rate| format!("{rate:.2}/s"))),
        done: super::or_dash(
            ShownTime::maybe(forecast.due_now_done_at, now).map(|when| when.words()),
        ),
    }
}
