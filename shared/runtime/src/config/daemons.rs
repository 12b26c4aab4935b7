//! The sections of the producer and of the worker.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::time::Duration;

use serde::Deserialize;

use evergrant_settings::{ConfigError, duration};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerConfig {
    #[serde(deserialize_with = "duration::required")]
    pub interval: Duration,
    pub max_queued: u64,
    pub window: usize,
    #[serde(deserialize_with = "duration::required")]
    pub queued_for: Duration,
    #[serde(deserialize_with = "duration::required")]
    pub leader_lease: Duration,
    #[serde(deserialize_with = "duration::required")]
    pub sweep_interval: Duration,
}

impl ProducerConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |setting: &str, reason: &str| Err(ConfigError::invalid(setting, reason));
        if self.interval < Duration::from_millis(100) {
            return wrong("producer.interval", "it must be at least 100ms");
        }
        if self.max_queued == 0 {
            return wrong("producer.max_queued", "it must be at least 1");
        }
        if !(1..=5_000).contains(&self.window) {
            return wrong("producer.window", "it must be from 1 to 5000");
        }
        if self.queued_for < Duration::from_secs(60) {
            return wrong("producer.queued_for", "it must be at least 60s");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&self.leader_lease) {
            return wrong("producer.leader_lease", "it must be from 1s to 1h");
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    pub exchanges_in_flight: u16,
    pub batch: u16,
    #[serde(deserialize_with = "duration::required")]
    pub permit_wait: Duration,
    #[serde(deserialize_with = "duration::required")]
    pub lease: Duration,
    pub shards: Option<Vec<u16>>,
    #[serde(deserialize_with = "duration::required")]
    pub shutdown_grace: Duration,
}

/// What a lease has left for the commit after the longest wait and the longest request.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

impl WorkerConfig {
    pub(super) fn check(&self, longest_request: Duration, shards: u16) -> Result<(), ConfigError> {
        if !(1..=1_000).contains(&self.exchanges_in_flight) {
            let reason = "it must be from 1 to 1000";
            return Err(ConfigError::invalid("worker.exchanges_in_flight", reason));
        }
        if !(1..=500).contains(&self.batch) {
            return Err(ConfigError::invalid("worker.batch", "it must be from 1 to 500"));
        }
        let needed = self.permit_wait + longest_request + COMMIT_TIMEOUT;
        if self.lease < needed {
            let needed = humantime::format_duration(needed);
            let reason = format!(
                "it must be at least {needed}: worker.permit_wait, the longest request_timeout \
                 of a provider and 5s for the commit"
            );
            return Err(ConfigError::invalid("worker.lease", reason));
        }
        match self.shards.as_deref() {
            Some([]) => Err(ConfigError::invalid("worker.shards", "it names no shard")),
            Some(subset) if subset.iter().any(|shard| *shard >= shards) => {
                let reason =
                    format!("queue.shards is {shards}, so the last shard is {}", shards - 1);
                Err(ConfigError::invalid("worker.shards", reason))
            }
            _ => Ok(()),
        }
    }
}
