//! What became of every grant, and whose fault it was.

use std::time::Duration;

use evergrant_simulator::{CheckReport, Document, Verdict};
use futures::TryStreamExt;
use serde_json::Value;

use super::drive::Report;
use super::fleet::Kill;
use super::scene::Scene;

/// A grant that was lost.
#[derive(Debug, Clone)]
pub struct Lost {
    /// Whose it was.
    pub user: String,
    /// The `_id` of its document.
    pub id: String,
    /// When its token was exchanged last, in milliseconds since the Unix epoch.
    pub exchanged_at_ms: u64,
    /// What its document says of it: its status and the reason.
    pub said: (String, String),
}

/// What became of all grants.
#[derive(Debug)]
pub struct Verdicts {
    /// The ledger's sums.
    pub check: CheckReport,
    /// Documents that were refreshed at least once.
    pub refreshed: u64,
    /// The grants that were lost.
    pub lost: Vec<Lost>,
}

/// How long after the provider's last word an answer may be on its way to a worker, on a machine that
/// is busy.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

impl Verdicts {
    /// Judges all documents.
    ///
    /// # Panics
    /// If the store does not answer.
    pub async fn of(scene: &Scene) -> Self {
        let simulator = &scene.evergrant.simulator;
        let documents: Vec<Value> =
            scene.evergrant.store.export().try_collect().await.expect("read all documents");
        let (mut check, mut refreshed, mut lost) = (simulator.empty_report(), 0, Vec::new());
        for value in &documents {
            let json = serde_json::to_vec(value).expect("JSON");
            let document = Document::from_json(&json).expect("a document");
            let judgement = simulator.judge(&document);
            check.add(&document, judgement);
            let state = &value["evergrant"];
            refreshed += u64::from(number(&state["generation"]) > 0);
            if matches!(judgement.verdict, Verdict::Lost(_)) {
                let user = document.user().unwrap_or_default().to_owned();
                let grant = simulator.grants_of(&user).into_iter().next();
                let exchanged_at_ms = grant.and_then(|grant| grant.exchanged_at_ms).unwrap_or(0);
                let said = (text(&state["status"]), text(&state["last_error"]["reason"]));
                let id = text(&value["_id"]["$oid"]);
                lost.push(Lost { user, id, exchanged_at_ms, said });
            }
        }
        Self { check, refreshed, lost }
    }

    /// All that the ledger and the programs' logs have about those that were lost.
    pub fn stories(&self, scene: &Scene) -> String {
        let logs = scene.evergrant.logs();
        let story = |lost: &Lost| {
            let about = logs.iter().filter(|(_, line)| line.contains(&lost.id));
            let lines: Vec<String> = about.map(|(log, line)| format!("{log}: {line}")).collect();
            let grants = scene.evergrant.simulator.grants_of(&lost.user);
            format!("{lost:?}\n{grants:?}\n{}\n", lines.join("\n"))
        };
        self.lost.iter().map(story).collect()
    }

    /// The lost that the documents say nothing of, or something else than that an answer was lost.
    pub fn silent(&self) -> Vec<&Lost> {
        let told = ("needs_reauth".to_owned(), "lost_response".to_owned());
        self.lost.iter().filter(|lost| lost.said != told).collect()
    }

    /// The lost whose request was not on the wire at any of the kills: nothing excuses these.
    pub fn unexcused(&self, report: &Report, scene: &Scene) -> Vec<&Lost> {
        let longest = scene.pace.longest_request() + ON_ITS_WAY;
        let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let excused = |lost: &Lost| report.kills.iter().any(|kill| excuses(kill, lost, longest_ms));
        self.lost.iter().filter(|lost| !excused(lost)).collect()
    }
}

/// The token is rotated when the request arrives, and the answer comes when the latency has passed.
fn excuses(kill: &Kill, lost: &Lost, longest_ms: u64) -> bool {
    let (earliest_ms, latest_ms) = (kill.at_ms.0.saturating_sub(longest_ms), kill.at_ms.1);
    (earliest_ms..=latest_ms).contains(&lost.exchanged_at_ms)
}

/// A number in extended JSON, in whatever form.
fn number(value: &Value) -> u64 {
    let written = ["$numberInt", "$numberLong"].iter().find_map(|kind| value.get(kind)?.as_str());
    written.and_then(|digits| digits.parse().ok()).or(value.as_u64()).unwrap_or(0)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_excuses_what_was_exchanged_shortly_before_it() {
        let kill = Kill { at_ms: (10_000, 10_010), on_the_wire: 1 };
        let lost = |exchanged_at_ms| Lost {
            user: String::new(),
            id: String::new(),
            exchanged_at_ms,
            said: (String::new(), String::new()),
        };
        for (exchanged_at_ms, excused) in
            [(8_999, false), (9_000, true), (10_010, true), (10_011, false)]
        {
            assert_eq!(excuses(&kill, &lost(exchanged_at_ms), 1_000), excused, "{exchanged_at_ms}");
        }
    }
}
