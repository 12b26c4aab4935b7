//! The worker's section of the settings: how much it does at once, and for how long.

use std::time::Duration;

use evergrant_runtime::config::{Config, ConfigError, SettingsSection};
use evergrant_settings::duration;
use serde::Deserialize;

/// How much a worker does at once, and for how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// Requests under way at once, for each provider.
    pub exchanges_in_flight: u16,
    /// Documents claimed or committed at once.
    pub batch: u16,
    /// How long a claim waits for its permit.
    #[serde(deserialize_with = "duration::required")]
    pub permit_wait: Duration,
    /// How long a claim holds its document.
    #[serde(deserialize_with = "duration::required")]
    pub lease: Duration,
    /// The shards to consume; None for all.
    pub shards: Option<Vec<u16>>,
    /// How long a shutdown may take.
    #[serde(deserialize_with = "duration::required")]
    pub shutdown_grace: Duration,
}

/// What a lease has left for the commit after the longest wait and the longest request.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

impl SettingsSection for WorkerSettings {
    const NAME: &'static str = "worker";

    fn validate(&self, config: &Config) -> Result<(), ConfigError> {
        if !(1..=1_000).contains(&self.exchanges_in_flight) {
            let reason = "it must be from 1 to 1000";
            return Err(ConfigError::invalid("worker.exchanges_in_flight", reason));
        }
        if !(1..=500).contains(&self.batch) {
            return Err(ConfigError::invalid("worker.batch", "it must be from 1 to 500"));
        }
        let providers = config.providers()?;
        let longest_request = providers.iter().map(|provider| provider.request_timeout).max();
        let needed = self.permit_wait + longest_request.unwrap_or_default() + COMMIT_TIMEOUT;
        if self.lease < needed {
            let needed = humantime::format_duration(needed);
            let reason = format!(
                "it must be at least {needed}: worker.permit_wait, the longest request_timeout \
                 of a provider and 5s for the commit"
            );
            return Err(ConfigError::invalid("worker.lease", reason));
        }
        let shards = config.queue.shards;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_named_with_what_would_be_right() {
        for (name, value, expected) in [
            ("LEASE", "1s", "worker.lease is wrong: it must be at least"),
            ("SHARDS", "[7]", "worker.shards is wrong: queue.shards is 1"),
            ("BATCH", "0", "worker.batch is wrong: it must be from 1 to 500"),
            ("BATHC", "5", "there is no setting worker.bathc"),
        ] {
            let name = format!("EVERGRANT_WORKER__{name}");
            let config = Config::from_parts(None, [(name.into(), value.into())], &[]).unwrap();
            let error = config.section::<WorkerSettings>().unwrap_err().to_string();
            assert!(error.contains(expected), "{value}: {error}");
        }
    }
}
