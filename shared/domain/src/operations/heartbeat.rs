//! Heartbeats: each process reports that it lives and what it does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ProviderId, Timestamp};

/// The interval between heartbeats.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// A process without a heartbeat for this long counts as gone.
pub const GONE_TIMEOUT: Duration = Duration::from_secs(20);
/// A process without a heartbeat for this long is no longer listed.
pub const HEARTBEAT_TTL: Duration = Duration::from_secs(24 * 3_600);

/// A report that a process lives, and what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The process's name, which no other process has.
    pub name: String,
    /// What it does.
    pub role: ProcessRole,
    /// Its release.
    pub version: String,
    /// The machine's name.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// When it reported, by the store's clock. The store sets it.
    pub beat_at: Timestamp,
    /// Whether it is the leading producer. Workers have no leader.
    #[serde(default)]
    pub leads: bool,
    /// A worker's state at each provider.
    #[serde(default)]
    pub lanes: Vec<LaneReport>,
    /// What does not work in it.
    #[serde(default)]
    pub problems: Vec<ProcessProblem>,
}

/// Something that does not work in a process while the rest continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessProblem {
    /// The subject, such as `documents of autodesk`.
    pub what: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// The role of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessRole {
    /// Publishes jobs.
    Producer,
    /// Refreshes grants.
    Worker,
    /// It hands out access tokens.
    Gateway,
}

impl ProcessRole {
    /// The name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Worker => "worker",
            Self::Gateway => "gateway",
        }
    }
}

/// A worker's state at one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneReport {
    /// The provider.
    pub provider: ProviderId,
    /// Requests under way.
    pub in_flight: u32,
    /// Grants refreshed since the start.
    pub refreshed: u64,
    /// Exchanges with other outcomes since the start.
    pub failed: u64,
    /// Grants refreshed in the last [`RATE_INTERVAL`].
    pub refreshed_lately: u64,
}

/// The interval that [`LaneReport::refreshed_lately`] covers; a younger process counts since its
/// start.
pub const RATE_INTERVAL: Duration = Duration::from_secs(30);

/// How many workers live, at the time of the latest heartbeat.
pub fn workers(processes: &[Heartbeat]) -> usize {
    let latest = processes.iter().map(|process| process.beat_at).max();
    let now = latest.unwrap_or_default();
    let lives = |process: &&Heartbeat| process.role == ProcessRole::Worker && !process.is_gone(now);
    processes.iter().filter(lives).count()
}

impl Heartbeat {
    /// The state of the process in one word.
    pub fn activity(&self, now: Timestamp) -> &'static str {
        match (self.is_gone(now), self.role, self.leads) {
            (true, ..) => "gone",
            (false, ProcessRole::Producer, true) => "leads",
            (false, ProcessRole::Producer, false) => "stands by",
            (false, ProcessRole::Worker, _) => "works",
            (false, ProcessRole::Gateway, _) => "serves",
        }
    }

    /// Whether the process counts as gone.
    pub fn is_gone(&self, now: Timestamp) -> bool {
        now.since(self.beat_at) > GONE_TIMEOUT
    }

    /// Requests under way at all providers.
    pub fn in_flight(&self) -> u32 {
        self.lanes.iter().map(|lane| lane.in_flight).sum()
    }

    /// Recent refreshes per second, at all providers or one; zero for a process that is gone.
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
    fn only_workers_with_recent_heartbeats_count() {
        let processes = [
            beat("own", ProcessRole::Worker, 100),
            beat("other", ProcessRole::Worker, 81),
            beat("silent", ProcessRole::Worker, 79),
            beat("producer", ProcessRole::Producer, 100),
        ];
        assert_eq!(workers(&processes), 2);
    }
}
