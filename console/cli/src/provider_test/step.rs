//! One thing that was tried, and what became of it.

use std::time::Duration;

use evergrant_domain::classify::ThrottleScope;
use evergrant_domain::{NewTokens, Outcome, TokenExpiry};
use evergrant_ports::wall_clock;
use evergrant_provider::{PresetVector, VectorMeans};
use serde::Serialize;

/// Seconds may pass on a busy machine while an answer that tells a time is under way.
const LIFETIME_ERROR_MAX: Duration = Duration::from_secs(10);

/// One thing that was tried.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TrialStep {
    /// Whether it became what the provider's file says.
    pub(crate) ok: bool,
    /// What was tried.
    pub(crate) tried: &'static str,
    /// What the file says.
    pub(crate) expected: String,
    /// What it became.
    pub(crate) became: String,
}

impl TrialStep {
    pub(crate) fn cells(&self) -> Vec<String> {
        let ok = if self.ok { "ok" } else { "WRONG" };
        vec![ok.to_owned(), self.tried.to_owned(), self.expected.clone(), self.became.clone()]
    }

    /// An answer that became `outcome`, beside the vectors of which one must fit.
    pub(super) fn compare(
        tried: &'static str,
        outcome: &Outcome,
        vectors: &[&PresetVector],
        refusal: Option<String>,
    ) -> Self {
        let differences: Vec<Option<&str>> =
            vectors.iter().map(|vector| difference(outcome, vector)).collect();
        let ok = differences.contains(&None);
        let expected = vectors.first().map_or_else(|| "an answer".to_owned(), |v| said(v));
        let mut became = words(outcome);
        if !ok {
            let differs = differences.into_iter().flatten().next();
            let why = differs.into_iter().map(|what| format!("{what} differs"));
            let more: Vec<String> = why.chain(refusal).collect();
            became = [vec![became], more].concat().join("; ");
        }
        Self { ok, tried, expected, became }
    }
}

fn said(vector: &PresetVector) -> String {
    let code = vector.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    format!("{}{code}", vector.means.as_str())
}

/// What an outcome came to, without a secret.
fn words(outcome: &Outcome) -> String {
    let means = VectorMeans::from_outcome(outcome).map_or("nothing", VectorMeans::as_str);
    if let Outcome::Refreshed(tokens) = outcome {
        let rotated = tokens.refresh_token.as_ref().map(|_| ", with a refresh token");
        let life = tokens.ends.access.and_then(|end| end.life_from(wall_clock()));
        let life = life.map(|life| {
            let life = Duration::from_secs(life.as_secs());
            format!(", for {}", humantime::format_duration(life))
        });
        return [Some(means), rotated, life.as_deref()].into_iter().flatten().collect();
    }
    let Some(failure) = outcome.failure() else { return means.to_owned() };
    let status = failure.http_status.map(|status| status.to_string());
    let more: Vec<String> =
        [status, failure.code.clone(), failure.description.clone()].into_iter().flatten().collect();
    if more.is_empty() { means.to_owned() } else { format!("{means} ({})", more.join(" ")) }
}

/// What of an outcome is not as a vector says.
fn difference(outcome: &Outcome, vector: &PresetVector) -> Option<&'static str> {
    if VectorMeans::from_outcome(outcome) != Some(vector.means) {
        return Some("the meaning");
    }
    if let Outcome::Refreshed(tokens) = outcome {
        return lifetimes(tokens, vector);
    }
    let failure = outcome.failure()?;
    if vector.code.is_some() && failure.code != vector.code {
        return Some("the code");
    }
    let wait = failure.retry_after_ms.map(Duration::from_millis);
    if !is_near(wait, vector.retry_after.as_deref()) {
        return Some("the time to wait");
    }
    if let (Outcome::Throttled(_, grants), Some(said)) = (outcome, vector.scope) {
        let is = if *grants == 0 { ThrottleScope::User } else { ThrottleScope::Client };
        return (is != said).then_some("whom the throttle is about");
    }
    None
}

fn lifetimes(tokens: &NewTokens, vector: &PresetVector) -> Option<&'static str> {
    if tokens.refresh_token.is_some() != vector.refresh_token.is_some() {
        return Some("the refresh token");
    }
    let life = |end: Option<TokenExpiry>| end.and_then(|end| end.life_from(wall_clock()));
    let ends = &tokens.ends;
    let told = [
        ("access_lifetime", life(ends.access), &vector.access_lifetime),
        ("refresh_idle_lifetime", life(ends.idle), &vector.refresh_idle_lifetime),
        ("refresh_absolute_lifetime", life(ends.absolute), &vector.refresh_absolute_lifetime),
    ];
    let wrong = told.into_iter().find(|(_, found, said)| !is_near(*found, said.as_deref()));
    wrong.map(|(name, ..)| name)
}

/// Whether a duration is what a vector says, where it says something.
fn is_near(found: Option<Duration>, said: Option<&str>) -> bool {
    let Some(said) = said.and_then(|said| humantime::parse_duration(said).ok()) else {
        return true;
    };
    found.is_some_and(|found| found.abs_diff(said) <= LIFETIME_ERROR_MAX)
}
