//! Whether anything runs, and what processes say does not work.

use std::collections::BTreeMap;

use evergrant_domain::heartbeat::{Heartbeat, ProcessRole};
use evergrant_ports::OperationsLog;

use super::row::{DoctorRow, Level};

/// Which processes live, and what they say does not work. Each problem is told once, however many of them
/// say it.
pub(super) async fn rows(store: &dyn OperationsLog) -> Vec<DoctorRow> {
    let (now, processes) = match tokio::try_join!(store.now(), store.processes()) {
        Ok(found) => found,
        Err(error) => return vec![DoctorRow::new(Level::Wrong, "processes", error.to_string())],
    };
    let living: Vec<_> = processes.iter().filter(|process| !process.is_gone(now)).collect();
    let problems: BTreeMap<_, _> = living
        .iter()
        .flat_map(|process| &process.problems)
        .map(|problem| (&problem.what, &problem.detail))
        .collect();
    let wrong = |(what, detail): (&String, &String)| DoctorRow::new(Level::Wrong, what, detail);
    std::iter::once(roles(&living)).chain(problems.into_iter().map(wrong)).collect()
}

fn roles(living: &[&Heartbeat]) -> DoctorRow {
    let of = |role| living.iter().filter(|process| process.role == role).count();
    let (producers, workers) = (of(ProcessRole::Producer), of(ProcessRole::Worker));
    let detail = format!("{producers} producers and {workers} workers live");
    if producers > 0 && workers > 0 {
        return DoctorRow::new(Level::Ok, "processes", detail);
    }
    let detail = format!("{detail}: nothing is refreshed while one of the two is missing");
    DoctorRow::new(Level::Note, "processes", detail)
}
