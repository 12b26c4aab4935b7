//! The settings section of logs, metrics and health. The commented defaults explain each setting.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    pub listen: ListenSettings,
    pub log_format: LogFormat,
    pub log_level: String,
}

/// Where health and metrics are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenSettings {
    Off,
    At(SocketAddr),
}

impl<'de> Deserialize<'de> for ListenSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self::Off);
        }
        let reason = "it must be an address and a port such as 127.0.0.1:9464, or off";
        text.parse().map(Self::At).map_err(|_| serde::de::Error::custom(reason))
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}
