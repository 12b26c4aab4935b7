//! What is known of providers, so that an operator need not type it: a file for each in `presets`.

use std::collections::BTreeMap;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Profile, Provider as _};
use serde::{Deserialize, Serialize};

use evergrant_domain::classify::DialectRule;
use evergrant_domain::{Outcome, RefusalScope};
use evergrant_settings::{ConfigError, config_error};

use crate::ProviderConfig;

/// The embedded files: name and text.
const PRESETS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/presets.rs"));

/// The preset of a section that names none: RFC 6749.
pub const DEFAULT_PRESET: &str = "oauth2";

/// What a preset says for people and for tests. The rest of its file are settings of a provider's section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PresetAbout {
    /// The provider's name for people.
    pub title: String,
    /// What an operator must know.
    pub help: Option<String>,
    /// Settings that a section must give, as nothing else can know them, and why.
    pub requires: BTreeMap<String, String>,
    /// Where each fact comes from.
    pub sources: BTreeMap<String, PresetSource>,
    /// Answers and what they mean.
    pub vector: Vec<PresetVector>,
}

/// Where a fact comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetSource {
    /// The address.
    pub source: String,
    /// The day on which it was read.
    pub date: String,
    /// What is to be said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An answer and what it means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetVector {
    /// A sentence.
    pub name: String,
    /// The HTTP status.
    pub status: u16,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as it is sent.
    pub body: String,
    /// What it means.
    pub means: VectorMeans,
    /// The access token that is taken.
    pub access_token: Option<String>,
    /// The refresh token that is taken; none keeps the old one.
    pub refresh_token: Option<String>,
    /// What is read, as the settings write durations.
    pub access_lifetime: Option<String>,
    /// The same.
    pub refresh_idle_lifetime: Option<String>,
    /// The same.
    pub refresh_absolute_lifetime: Option<String>,
    /// The same.
    pub retry_after: Option<String>,
    /// Whom a throttle is about.
    pub scope: Option<evergrant_domain::classify::ThrottleScope>,
    /// The error code that is shown.
    pub code: Option<String>,
    /// When the answer comes.
    pub now: Option<evergrant_domain::Timestamp>,
    /// Where such an answer is shown.
    pub source: Option<String>,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorMeans {
    /// New tokens.
    Refreshed,
    /// The user must sign in again.
    Dead,
    /// It may pass.
    NotDead,
    /// Slow down.
    Throttled,
    /// Our client is at fault.
    ClientMisconfigured,
    /// It was asked for before its time.
    RetryLater,
    /// The client or the user is refused.
    Refused,
    /// The token may be spent.
    Ambiguous,
    /// A success without tokens where they are looked for.
    Unreadable,
}

impl VectorMeans {
    /// What an outcome means. None for one that no answer has.
    pub fn from_outcome(outcome: &Outcome) -> Option<Self> {
        Some(match outcome {
            Outcome::Refreshed(_) => Self::Refreshed,
            Outcome::GrantDead(_) => Self::Dead,
            Outcome::Transient(_) => Self::NotDead,
            Outcome::Throttled(..) => Self::Throttled,
            Outcome::Refused(_, RefusalScope::Client) => Self::ClientMisconfigured,
            Outcome::TooEarly(_) => Self::RetryLater,
            Outcome::Refused(..) => Self::Refused,
            Outcome::Ambiguous(_) => Self::Ambiguous,
            Outcome::Unreadable(..) => Self::Unreadable,
            _ => return None,
        })
    }

    /// The name in a file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refreshed => "refreshed",
            Self::Dead => "dead",
            Self::NotDead => "not_dead",
            Self::Throttled => "throttled",
            Self::ClientMisconfigured => "client_misconfigured",
            Self::RetryLater => "retry_later",
            Self::Refused => "refused",
            Self::Ambiguous => "ambiguous",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A preset's file, or a user's own of the same form.
#[derive(Debug, Clone)]
pub struct PresetFile {
    /// What it says for people and for tests.
    pub about: PresetAbout,
    /// What its answers mean: looked at behind the rules of the section.
    pub(crate) rules: Vec<DialectRule>,
    /// The settings.
    pub(crate) settings: Dict,
}

/// The names of the presets.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The file of a preset as it is written.
///
/// # Errors
/// If there is none of this name.
pub fn preset_text(name: &str) -> Result<&'static str, ConfigError> {
    let text = PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
    text.ok_or_else(|| {
        let known: Vec<&str> = preset_names().collect();
        let reason = format!("there is no preset of this name; there are {}", known.join(", "));
        ConfigError::invalid("preset", reason)
    })
}

/// The preset of this name.
///
/// # Errors
/// If there is none, or its file is wrong, which a test excludes.
///
/// ```
/// let autodesk = evergrant_provider::preset("autodesk")?;
/// assert!(autodesk.has("token_url") && !autodesk.has("client_id"));
/// # Ok::<(), evergrant_settings::ConfigError>(())
/// ```
pub fn preset(name: &str) -> Result<PresetFile, ConfigError> {
    let text = preset_text(name)?;
    PresetFile::read(text).map_err(|error| error.within(&format!("preset {name}")))
}

/// A fact of a preset, for people.
#[derive(Debug, Clone, Serialize)]
pub struct PresetFact<'a> {
    /// The setting.
    pub name: &'a str,
    /// Its value, as JSON where it is no text.
    pub value: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub source: Option<&'a PresetSource>,
}

impl PresetFile {
    /// Whether it knows this setting.
    pub fn has(&self, setting: &str) -> bool {
        self.settings.contains_key(setting)
    }

    /// What is known, in the order of the settings' names.
    pub fn facts(&self) -> Vec<PresetFact<'_>> {
        let text = |value: &Value| match value {
            Value::String(_, text) => text.clone(),
            // A value of TOML is one of JSON.
            value => serde_json::to_string(value).unwrap_or_default(),
        };
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), text(value)));
        let rules =
            (!self.rules.is_empty()).then(|| ("meaning", format!("{} rules", self.rules.len())));
        settings
            .chain(rules)
            .map(|(name, value)| PresetFact { name, value, source: self.about.sources.get(name) })
            .collect()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it is no TOML, or something in it is wrong by itself. What it leaves open is checked with the section
    /// that it is for.
    pub(crate) fn read(text: &str) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Rules {
            #[serde(default)]
            meaning: Vec<DialectRule>,
        }
        let data = Toml::string(text).data().map_err(config_error)?;
        let mut settings = data.get(&Profile::Default).cloned().unwrap_or_default();
        let mut take = |names: &[&str]| -> Dict {
            names.iter().filter_map(|name| settings.remove_entry(*name)).collect()
        };
        let (about, rules) =
            (take(&["title", "help", "requires", "sources", "vector"]), take(&["meaning"]));
        let part = |part: Dict| Figment::from(figment::providers::Serialized::defaults(part));
        let rules: Rules = part(rules).extract().map_err(config_error)?;
        let about = part(about).extract().map_err(config_error)?;
        let section: ProviderConfig = part(settings.clone()).extract().map_err(config_error)?;
        section.check_hosts()?;
        Ok(Self { about, rules: rules.meaning, settings })
    }
}
