//! Conditions for which a case waits.

use std::collections::BTreeMap;
use std::fmt;

use evergrant_ports::{GrantFilter, GrantView};
use futures::TryStreamExt;
use regex::Regex;
use serde::Deserialize;

use super::scene::{Scene, text};

/// A condition: all given parts must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Condition {
    /// Each grant is refreshed or has ended.
    settled: bool,
    /// Each grant whose user matches is refreshed at least once.
    refreshed: Option<String>,
    /// The number of requests.
    requests: Option<usize>,
    /// The number of exchanged tokens.
    exchanges: Option<u64>,
    /// The number of requests of each user.
    requests_of: BTreeMap<String, usize>,
    /// The status of documents, by a pattern of their ids.
    status: BTreeMap<String, String>,
    /// The number of dead letters.
    letters: Option<usize>,
    /// A line of the log that matches.
    log: Option<String>,
    /// The program has ended by itself.
    ended: bool,
    /// This many answers are in journals, and no request is under way.
    journalled: Option<usize>,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Absent parts are ignored.
        let all = format!("{self:?}");
        let parts = all.trim_start_matches("Condition { ").trim_end_matches(" }").split(", ");
        let is_named = |part: &&str| {
            !["None", "false", "{}"].iter().any(|unset| part.ends_with(&format!(": {unset}")))
        };
        f.write_str(&parts.filter(is_named).collect::<Vec<_>>().join(", "))
    }
}

/// The pattern must match the whole text.
pub(super) fn whole(pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(text)
}

/// The status of a grant as text.
pub(super) fn status(grant: &GrantView) -> String {
    grant.status.map_or("none".to_owned(), |status| status.as_str().to_owned())
}

/// All grants, as operators see them.
pub(super) async fn grants(scene: &Scene) -> Result<Vec<GrantView>, String> {
    scene.store.list(GrantFilter::default()).try_collect().await.map_err(text)
}

impl Condition {
    /// Each grant is refreshed or has ended.
    pub(super) fn settled() -> Self {
        Self { settled: true, ..Self::default() }
    }

    pub(super) async fn is_met(&self, scene: &mut Scene) -> Result<bool, String> {
        if let Some(program) = &mut scene.program
            && program.is_running() == self.ended
        {
            return if self.ended { Ok(false) } else { Err("the program has ended".to_owned()) };
        }
        Ok(self.is_met_by_the_provider(scene)?
            && self.is_met_by_the_log(scene)?
            && self.is_met_by_the_documents(scene).await?
            && self.is_met_by_letters(scene).await)
    }

    fn is_met_by_the_provider(&self, scene: &Scene) -> Result<bool, String> {
        let stats = scene.simulator.stats();
        if self.exchanges.is_some_and(|exchanges| stats.exchanges < exchanges) {
            return Ok(false);
        }
        if self.journalled.is_some() && stats.in_flight > 0 {
            return Ok(false);
        }
        let requests = scene.simulator.requests();
        let of = |user: &String| {
            let is_of = |request: &&evergrant_simulator::RequestRecord| {
                request.user_id.as_ref() == Some(user)
            };
            requests.iter().filter(is_of).count()
        };
        Ok(self.requests.is_none_or(|wanted| requests.len() >= wanted)
            && self.requests_of.iter().all(|(user, wanted)| of(user) >= *wanted)
            && self.journalled.is_none_or(|wanted| journalled(scene) >= wanted))
    }

    fn is_met_by_the_log(&self, scene: &Scene) -> Result<bool, String> {
        let Some(pattern) = &self.log else { return Ok(true) };
        Ok(Regex::new(pattern).map_err(text)?.is_match(&scene.log()))
    }

    async fn is_met_by_the_documents(&self, scene: &Scene) -> Result<bool, String> {
        if !self.settled && self.refreshed.is_none() && self.status.is_empty() {
            return Ok(true);
        }
        let grants = grants(scene).await?;
        let is_settled = |grant: &GrantView| {
            grant.generation > 0 || !matches!(status(grant).as_str(), "none" | "active")
        };
        let all_are_settled = !grants.is_empty() && grants.iter().all(is_settled);
        if self.settled && !all_are_settled {
            return Ok(false);
        }
        let matching = |pattern: &str| {
            let pattern = whole(pattern)?;
            let all = grants.iter().filter(|grant| pattern.is_match(&grant.id.to_string()));
            Ok::<Vec<_>, String>(all.collect())
        };
        if let Some(pattern) = &self.refreshed {
            let matching = matching(pattern)?;
            if matching.is_empty() || matching.iter().any(|grant| grant.generation == 0) {
                return Ok(false);
            }
        }
        for (pattern, wanted) in &self.status {
            let matching = matching(pattern)?;
            if matching.is_empty() || matching.iter().any(|grant| status(grant) != *wanted) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_met_by_letters(&self, scene: &Scene) -> bool {
        let Some(wanted) = self.letters else { return true };
        scene.json_lines(&["dlq", "show", "--limit", "1000"]).await.len() >= wanted
    }
}

/// Lines in the journals beside the file.
fn journalled(scene: &Scene) -> usize {
    let Ok(entries) = scene.path("evergrant.db-rescue").read_dir() else { return 0 };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let journals = paths.filter(|path| path.extension().is_some_and(|e| e == "journal"));
    let lines = |path| std::fs::read(path).unwrap_or_default();
    journals.map(|path| lines(path).iter().filter(|byte| **byte == b'\n').count()).sum()
}
