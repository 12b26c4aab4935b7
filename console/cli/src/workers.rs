//! `evergrant workers`: the processes that live or have lately.

use evergrant_domain::Timestamp;
use evergrant_domain::heartbeat::Heartbeat;
use evergrant_ports::{OperationsLog, StoreError};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::Output;

#[derive(Serialize)]
struct ShownProcess<'a> {
    #[serde(flatten)]
    process: &'a Heartbeat,
    gone: bool,
    refreshed_per_second: f64,
}

/// Lists all processes. Those that have said nothing for a while are gone, and are listed for a day.
pub(crate) async fn list(store: &dyn OperationsLog, output: &Output) -> Result<Exit, StoreError> {
    let (processes, now) = (store.processes().await?, store.now().await?);
    if processes.is_empty() {
        output
            .message("no process has said that it lives: start evergrant-worker, or evergrant run");
        return Ok(Exit::Nothing);
    }
    if output.json {
        let shown = |process| ShownProcess {
            process,
            gone: Heartbeat::is_gone(process, now),
            refreshed_per_second: Heartbeat::per_second(process, None, now),
        };
        output.json_list(&processes.iter().map(shown).collect::<Vec<_>>());
    } else {
        output.table(&HEADER, processes.iter().map(|process| row(process, now)));
    }
    Ok(Exit::Done)
}

/// The columns of [`row`].
pub(crate) const HEADER: [&str; 10] =
    ["NAME", "ROLE", "STATE", "VERSION", "HOST", "PID", "STARTED", "BEAT", "IN FLIGHT", "PER S"];

/// A process in a table.
pub(crate) fn row(process: &Heartbeat, now: Timestamp) -> Vec<String> {
    vec![
        process.name.clone(),
        process.role.as_str().to_owned(),
        process.activity(now).to_owned(),
        process.version.clone(),
        process.host.clone(),
        process.pid.to_string(),
        process.started_at.to_string(),
        format!("{} s ago", now.since(process.beat_at).as_secs()),
        process.in_flight().to_string(),
        format!("{:.1}", process.per_second(None, now)),
    ]
}
