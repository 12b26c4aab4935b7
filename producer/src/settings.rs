//! The producer's section of the settings: how much it publishes, and how often.

use std::time::Duration;

use evergrant_runtime::config::{Config, ConfigError, SettingsSection};
use evergrant_settings::duration;
use serde::Deserialize;

/// How much a producer publishes, and how often.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerSettings {
    /// The time from the start of a daemon's pass to the next.
    #[serde(deserialize_with = "duration::required")]
    pub interval: Duration,
    /// Jobs that may wait in a provider's queues.
    pub max_queued: u64,
    /// Jobs published before their confirms are awaited and their documents marked.
    pub window: usize,
    /// How long a job is taken to be under way before another is made.
    #[serde(deserialize_with = "duration::required")]
    pub queued_for: Duration,
    /// How long a producer leads unless it says that it still lives.
    #[serde(deserialize_with = "duration::required")]
    pub leader_lease: Duration,
    /// The time from one search for users who have signed in again to the next.
    #[serde(deserialize_with = "duration::required")]
    pub sweep_interval: Duration,
}

impl SettingsSection for ProducerSettings {
    const NAME: &'static str = "producer";

    fn validate(&self, _: &Config) -> Result<(), ConfigError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(name: &str, value: &str) -> Result<ProducerSettings, ConfigError> {
        let name = format!("EVERGRANT_PRODUCER__{name}");
        Config::from_parts(None, [(name.into(), value.into())], &[])?.section()
    }

    #[test]
    fn a_wrong_setting_is_named_with_what_would_be_right() {
        for (name, value, expected) in [
            ("INTERVAL", "often", "producer.interval is wrong: a duration is"),
            ("INTERVAL", "1ms", "producer.interval is wrong: it must be at least 100ms"),
            ("INTERVALL", "5s", "there is no setting producer.intervall"),
            ("WINDOW", "0", "producer.window is wrong: it must be from 1 to 5000"),
            ("WINDOW", "many", "producer.window is wrong: expected usize (in the environment)"),
        ] {
            let error = load(name, value).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}={value}: {error}");
        }
        assert!(!load("WINDOW", "hunter2").unwrap_err().to_string().contains("hunter2"));
    }
}
