//! The gateway's section of the settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use evergrant_runtime::config::{Config, ConfigError, SettingsSection};
use evergrant_settings::{check_tls_pair, duration, tls_pair};
use evergrant_telemetry::ListenSettings;
use serde::Deserialize;

/// Where the gateway serves, and how long its callers wait.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// Where callers ask for tokens; off for nowhere.
    pub listen: ListenSettings,
    /// The certificate for TLS, followed by those that signed it, as PEM.
    pub tls_certificate: Option<PathBuf>,
    /// Its key, as PEM.
    pub tls_key: Option<PathBuf>,
    /// How long a caller waits for a refresh unless it says so.
    #[serde(deserialize_with = "duration::required")]
    pub wait: Duration,
    /// How long a caller waits at most, whatever it says.
    #[serde(deserialize_with = "duration::required")]
    pub wait_max: Duration,
}

impl GatewaySettings {
    /// The files of the certificate and of its key, if the gateway speaks TLS itself.
    pub fn tls(&self) -> Option<(&Path, &Path)> {
        tls_pair(&self.tls_certificate, &self.tls_key)
    }
}

impl SettingsSection for GatewaySettings {
    const NAME: &'static str = "gateway";

    fn validate(&self, _: &Config) -> Result<(), ConfigError> {
        if self.wait_max > Duration::from_secs(300) {
            return Err(ConfigError::invalid("gateway.wait_max", "it must be at most 5m"));
        }
        if self.wait > self.wait_max {
            let reason = "it must be at most gateway.wait_max";
            return Err(ConfigError::invalid("gateway.wait", reason));
        }
        check_tls_pair(Self::NAME, &self.tls_certificate, &self.tls_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(name: &str, value: &str) -> Result<GatewaySettings, ConfigError> {
        let name = format!("EVERGRANT_GATEWAY__{name}");
        Config::from_parts(None, [(name.into(), value.into())], &[])?.section()
    }

    #[test]
    fn a_wrong_setting_is_named_with_what_would_be_right() {
        for (name, value, expected) in [
            ("LISTEN", "here", "gateway.listen"),
            ("WAIT", "1h", "gateway.wait is wrong: it must be at most gateway.wait_max"),
            ("WAIT_MAX", "1h", "gateway.wait_max is wrong: it must be at most 5m"),
            ("TLS_KEY", "key.pem", "gateway.tls_certificate"),
        ] {
            let error = load(name, value).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}={value}: {error}");
        }
        assert!(load("LISTEN", "127.0.0.1:9480").is_ok());
    }
}
