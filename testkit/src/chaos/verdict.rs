//! The fate of every grant, and its cause.

use std::time::Duration;

use evergrant_simulator::{CheckReport, GrantVerdict, LedgerDocument};
use futures::TryStreamExt;
use serde_json::Value;

use super::drive::RunReport;
use super::fleet::WorkerKill;
use super::scene::ChaosScene;

/// A grant that was lost.
#[derive(Debug, Clone)]
pub struct LostGrant {
    /// Its user.
    pub user: String,
    /// The `_id` of its document.
    pub id: String,
    /// When its token was last exchanged, in milliseconds since the Unix epoch.
    pub exchanged_at_ms: u64,
    /// When the reply was handed to a client, if it was.
    pub replied_at_ms: Option<u64>,
    /// The status and the reason in its document.
    pub said: (String, String),
}

/// The fates of all grants.
#[derive(Debug)]
pub struct GrantVerdicts {
    /// The ledger's sums.
    pub check: CheckReport,
    /// Documents that were refreshed at least once.
    pub refreshed: u64,
    /// The grants that were lost.
    pub lost: Vec<LostGrant>,
}

/// How long before a kill a reply may have been handed over without being in the journal yet, on a
/// busy machine.
const HANDED_OVER: Duration = Duration::from_millis(100);

/// How a kill explains a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillExcuse {
    /// The request was on the wire: its reply had no receiver.
    OnTheWire,
    /// The reply was handed over at the last moment.
    HandedOver,
}

impl GrantVerdicts {
    /// Judges all documents.
    ///
    /// # Panics
    /// If the store does not answer.
    pub async fn from_scene(scene: &ChaosScene) -> Self {
        let simulator = &scene.evergrant.simulator;
        let documents: Vec<Value> =
            scene.evergrant.store.export().try_collect().await.expect("read all documents");
        let (mut check, mut refreshed, mut lost) = (simulator.empty_report(), 0, Vec::new());
        for value in &documents {
            let json = serde_json::to_vec(value).expect("JSON");
            let document = LedgerDocument::from_json(&json).expect("a document");
            let judgement = simulator.judge(&document);
            check.add(&document, judgement);
            let state = &value["evergrant"];
            refreshed += u64::from(number(&state["generation"]) > 0);
            if matches!(judgement.verdict, GrantVerdict::Lost(_)) {
                let user = document.user().unwrap_or_default().to_owned();
                let grant = simulator.grants_of(&user).into_iter().next();
                let exchanged_at_ms = grant.as_ref().and_then(|grant| grant.exchanged_at_ms);
                let exchanged_at_ms = exchanged_at_ms.unwrap_or(0);
                let replied_at_ms = grant.and_then(|grant| grant.replied_at_ms);
                // An earlier reply belongs to an earlier exchange.
                let replied_at_ms = replied_at_ms.filter(|at_ms| *at_ms >= exchanged_at_ms);
                let said = (text(&state["status"]), text(&state["last_error"]["reason"]));
                let id = text(&value["_id"]["$oid"]);
                lost.push(LostGrant { user, id, exchanged_at_ms, replied_at_ms, said });
            }
        }
        Self { check, refreshed, lost }
    }

    /// All lines about lost grants in the ledger and the logs.
    pub fn stories(&self, scene: &ChaosScene) -> String {
        let logs = scene.evergrant.logs();
        let story = |lost: &LostGrant| {
            let about = logs.iter().filter(|(_, line)| line.contains(&lost.id));
            let lines: Vec<String> = about.map(|(log, line)| format!("{log}: {line}")).collect();
            let grants = scene.evergrant.simulator.grants_of(&lost.user);
            format!("{lost:?}\n{grants:?}\n{}\n", lines.join("\n"))
        };
        self.lost.iter().map(story).collect()
    }

    /// Lost grants whose documents do not report that an answer was lost.
    pub fn silent(&self) -> Vec<&LostGrant> {
        let told = ("needs_reauth".to_owned(), "lost_response".to_owned());
        self.lost.iter().filter(|lost| lost.said != told).collect()
    }

    /// Lost grants that no kill explains: the request was not on the wire, and the reply was not
    /// handed over at the last moment. An answer that a worker had longer than that is in its
    /// journal.
    pub fn unexcused(&self, report: &RunReport, scene: &ChaosScene) -> Vec<&LostGrant> {
        self.lost.iter().filter(|lost| self.excuse(lost, report, scene).is_none()).collect()
    }

    /// Lost grants whose reply was handed over at the last moment.
    pub fn handed_over(&self, report: &RunReport, scene: &ChaosScene) -> Vec<&LostGrant> {
        let excuse =
            |lost: &&LostGrant| self.excuse(lost, report, scene) == Some(KillExcuse::HandedOver);
        self.lost.iter().filter(excuse).collect()
    }

    fn excuse(
        &self,
        lost: &LostGrant,
        report: &RunReport,
        scene: &ChaosScene,
    ) -> Option<KillExcuse> {
        let longest_ms =
            u64::try_from(scene.pace.longest_request().as_millis()).unwrap_or(u64::MAX);
        report.kills.iter().find_map(|kill| excuse(kill, lost, longest_ms))
    }
}

/// The token is rotated when the request arrives, and the reply comes after the latency.
fn excuse(kill: &WorkerKill, lost: &LostGrant, longest_ms: u64) -> Option<KillExcuse> {
    let handed_over_ms = u64::try_from(HANDED_OVER.as_millis()).unwrap_or(u64::MAX);
    let (before_ms, after_ms) = kill.at_ms;
    let (at_ms, margin_ms, excuse) = match lost.replied_at_ms {
        None => (lost.exchanged_at_ms, longest_ms, KillExcuse::OnTheWire),
        Some(at_ms) => (at_ms, handed_over_ms, KillExcuse::HandedOver),
    };
    (before_ms.saturating_sub(margin_ms)..=after_ms).contains(&at_ms).then_some(excuse)
}

/// A number in any form of extended JSON.
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

    const KILL: WorkerKill = WorkerKill { at_ms: (10_000, 10_010), on_the_wire: 1 };

    fn lost(exchanged_at_ms: u64, replied_at_ms: Option<u64>) -> LostGrant {
        let said = (String::new(), String::new());
        LostGrant { user: String::new(), id: String::new(), exchanged_at_ms, replied_at_ms, said }
    }

    #[test]
    fn a_kill_excuses_what_was_on_the_wire() {
        for (exchanged_at_ms, excused) in
            [(8_999, false), (9_000, true), (10_010, true), (10_011, false)]
        {
            let excuse = excuse(&KILL, &lost(exchanged_at_ms, None), 1_000);
            assert_eq!(excuse.is_some(), excused, "{exchanged_at_ms}");
        }
    }

    #[test]
    fn a_kill_does_not_explain_a_received_answers_loss() {
        for (replied_at_ms, excused) in
            [(9_000, false), (9_899, false), (9_900, true), (10_010, true), (10_200, false)]
        {
            let excuse = excuse(&KILL, &lost(8_900, Some(replied_at_ms)), 1_000);
            assert_eq!(excuse == Some(KillExcuse::HandedOver), excused, "{replied_at_ms}");
        }
    }
}
