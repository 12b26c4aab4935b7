//! Whether anything runs, and what processes say does not work.

use std::collections::BTreeMap;

use evergrant_domain::heartbeat::{Heartbeat, Role};
use evergrant_ports::OperationsLog;

use super::row::{Level, Row};

/// Which processes live, and what they say does not work. Each problem is told once, however many of them
/// say it.
pub(super) async fn rows(store: &dyn OperationsLog) -> Vec<Row> {
    let (now, processes) = match tokio::try_join!(store.now(), store.processes()) {
        Ok(found) => found,
        Err(error) => return vec![Row::new(Level::Wrong, "processes", error.to_string())],
    };
    let living: Vec<_> = processes.iter().filter(|process| !process.is_gone(now)).collect();
    let problems: BTreeMap<_, _> = living
        .iter()
        .flat_map(|process| &process.problems)
        .map(|problem| (&problem.what, &problem.detail))
        .collect();
    let wrong = |(what, detail): (&String, &String)| Row::new(Level::Wrong, what, detail);
    std::iter::once(roles(&living)).chain(problems.into_iter().map(wrong)).collect()
}

fn roles(living: &[&Heartbeat]) -> Row {
    let of = |role| living.iter().filter(|process| process.role == role).count();
    let (producers, workers) = (of(Role::Producer), of(Role::Worker));
    let detail = format!("{producers} producers and {workers} workers live");
    if producers > 0 && workers > 0 {
        return Row::new(Level::Ok, "processes", detail);
    }
    let detail = format!("{detail}: nothing is refreshed while one of the two is missing");
    Row::new(Level::Note, "processes", detail)
}
