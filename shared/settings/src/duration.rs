//! Durations as people write them: `250ms`, `30s`, `14days`.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A duration, for `#[serde(deserialize_with)]`.
///
/// ```
/// use std::time::Duration;
///
/// #[derive(serde::Deserialize)]
/// struct Section {
///     #[serde(deserialize_with = "evergrant_settings::duration::required")]
///     interval: Duration,
/// }
///
/// use figment::providers::{Format, Toml};
/// let section: Section = figment::Figment::from(Toml::string("interval = '15s'")).extract()?;
/// assert_eq!(section.interval, Duration::from_secs(15));
/// # Ok::<(), figment::Error>(())
/// ```
pub fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| {
        D::Error::custom("a duration is written like \"250ms\", \"30s\" or \"14days\"")
    })
}

/// A duration that may be left out.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    required(deserializer).map(Some)
}

/// A list of durations.
pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Item(#[serde(deserialize_with = "required")] Duration);
    let items = Vec::<Item>::deserialize(deserializer)?;
    Ok(items.into_iter().map(|item| item.0).collect())
}
