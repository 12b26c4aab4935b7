//! That a process lives, and what it is doing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ProviderId, Timestamp};

/// How often a process says that it lives.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// A process that has said nothing for this long is taken to be gone.
pub const GONE_TIMEOUT: Duration = Duration::from_secs(20);
/// A process that has said nothing for this long is not listed any more.
pub const HEARTBEAT_TTL: Duration = Duration::from_secs(24 * 3_600);

/// That a process lives, and what it is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Its name, which no other process has.
    pub name: String,
    /// What it does.
    pub role: ProcessRole,
    /// Its release.
    pub version: String,
    /// The machine's name.
    pub host: String,
    /// Its id there.
    pub pid: u32,
    /// When it was started, by its own clock.
    pub started_at: Timestamp,
    /// When it said this, by the store's clock. The store sets it.
    pub beat_at: Timestamp,
    /// Whether a producer leads. Workers have no leader.
    #[serde(default)]
    pub leads: bool,
    /// What a worker does at each provider.
    #[serde(default)]
    pub lanes: Vec<LaneReport>,
    /// What does not work, while the rest goes on.
    #[serde(default)]
    pub problems: Vec<ProcessProblem>,
}

/// Something that does not work in a process, while the rest of it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessProblem {
    /// What it is about, such as `documents of autodesk`.
    pub what: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessRole {
    /// It makes jobs.
    Producer,
    /// It refreshes grants.
    Worker,
}

impl ProcessRole {
    /// The name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Worker => "worker",
        }
    }
}

/// What a worker does at one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneReport {
    /// The provider.
    pub provider: ProviderId,
    /// Requests under way.
    pub in_flight: u32,
    /// Grants refreshed since it was started.
    pub refreshed: u64,
    /// Exchanges that came to something else since it was started.
    pub failed: u64,
    /// Grants refreshed in the last [`RATE_INTERVAL`].
    pub refreshed_lately: u64,
}

/// The time over which [`LaneReport::refreshed_lately`] counts; a process that is younger counts what
/// it has.
pub const RATE_INTERVAL: Duration = Duration::from_secs(30);

/// How many workers live, by the time of the latest beat: whoever asks has just told that it lives.
pub fn workers(processes: &[Heartbeat]) -> usize {
    let latest = processes.iter().map(|process| process.beat_at).max();
    let now = latest.unwrap_or_default();
    let lives = |process: &&Heartbeat| process.role == ProcessRole::Worker && !process.is_gone(now);
    processes.iter().filter(lives).count()
}

impl Heartbeat {
    /// What the process does, in a word.
    pub fn activity(&self, now: Timestamp) -> &'static str {
        match (self.is_gone(now), self.role, self.leads) {
            (true, ..) => "gone",
            (false, ProcessRole::Producer, true) => "leads",
            (false, ProcessRole::Producer, false) => "stands by",
            (false, ProcessRole::Worker, _) => "works",
        }
    }

    /// Whether the process is taken to be gone.
    pub fn is_gone(&self, now: Timestamp) -> bool {
        now.since(self.beat_at) > GONE_TIMEOUT
    }

    /// Requests under way at all providers.
    pub fn in_flight(&self) -> u32 {
        self.lanes.iter().map(|lane| lane.in_flight).sum()
    }

    /// Grants refreshed per second lately, at all providers or one; none by a process that is gone.
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    pub fn per_second(&self, provider: Option<&ProviderId>, now: Timestamp) -> f64 {
        if self.is_gone(now) {
            return 0.0;
        }
        let wanted =
            |lane: &&LaneReport| provider.is_none_or(|provider| lane.provider == *provider);
        let refreshed: u64 =
            self.lanes.iter().filter(wanted).map(|lane| lane.refreshed_lately).sum();
        let age = self.beat_at.since(self.started_at).max(BEAT_INTERVAL).min(RATE_INTERVAL);
        refreshed as f64 / age.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(name: &str, role: ProcessRole, at_s: i64) -> Heartbeat {
        Heartbeat {
            name: name.to_owned(),
            role,
            version: String::new(),
            host: String::new(),
            pid: 1,
            started_at: Timestamp::default(),
            beat_at: Timestamp::from_unix_ms(at_s * 1_000),
            leads: false,
            lanes: Vec::new(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn workers_are_those_that_have_not_been_silent_for_too_long() {
        let processes = [
            beat("own", ProcessRole::Worker, 100),
            beat("other", ProcessRole::Worker, 81),
            beat("silent", ProcessRole::Worker, 79),
            beat("producer", ProcessRole::Producer, 100),
        ];
        assert_eq!(workers(&processes), 2);
    }
}
