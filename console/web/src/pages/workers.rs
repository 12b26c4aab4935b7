//! The page of processes.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use evergrant_domain::Timestamp;
use evergrant_domain::heartbeat::{Heartbeat, ProcessRole};

use crate::Web;
use crate::format::{self, ShownTime, visible};
use crate::page_context::PageContext;
use crate::page_layout::{Nav, PageLayout, html};
use crate::problem::Problem;

#[derive(Template)]
#[template(path = "workers.html")]
struct Workers {
    frame: PageLayout,
    words: String,
    versions: usize,
    rows: Vec<ProcessRow>,
}

struct ProcessRow {
    name: String,
    role: &'static str,
    state: &'static str,
    mood: &'static str,
    beat: ShownTime,
    in_flight: u32,
    per_second: String,
    refreshed: String,
    failed: String,
    version: String,
    place: String,
    started: ShownTime,
}

pub(crate) async fn page(
    State(web): State<Arc<Web>>,
    seen: PageContext,
) -> Result<Response, Problem> {
    let known = web.watcher.known();
    let now = known.now();
    let live = known.processes.iter().filter(|process| !process.is_gone(now));
    let versions: BTreeSet<&str> = live.clone().map(|process| process.version.as_str()).collect();
    let of = |role| live.clone().filter(|process| process.role == role).count();
    html(&Workers {
        frame: PageLayout::new(&web, &seen, "Workers", Nav::Workers),
        words: format!(
            "Live: workers {}, producers {}",
            of(ProcessRole::Worker),
            of(ProcessRole::Producer)
        ),
        versions: versions.len(),
        rows: known.processes.iter().map(|process| row(process, now)).collect(),
    })
}

fn row(process: &Heartbeat, now: Timestamp) -> ProcessRow {
    let sum = |of: fn(&evergrant_domain::heartbeat::LaneReport) -> u64| {
        format::number(process.lanes.iter().map(of).sum())
    };
    ProcessRow {
        name: visible(&process.name),
        role: process.role.as_str(),
        state: process.activity(now),
        mood: if process.is_gone(now) { "bad" } else { "good" },
        beat: ShownTime::new(process.beat_at, now),
        in_flight: if process.is_gone(now) { 0 } else { process.in_flight() },
        per_second: format::rate(process.per_second(None, now)),
        refreshed: sum(|lane| lane.refreshed),
        failed: sum(|lane| lane.failed),
        version: visible(&process.version),
        place: visible(&format!("{}, pid {}", process.host, process.pid)),
        started: ShownTime::new(process.started_at, now),
    }
}
