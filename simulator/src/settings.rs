//! Everything that can be changed while the simulator runs.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::faults::FaultRates;
use crate::limit::RequestLimit;
use crate::settings_error::SettingsError;

/// The longest lifetime or grace, in seconds: a hundred years.
const SECONDS_MAX: u64 = 3_153_600_000;
/// The longest latency, in milliseconds.
const LATENCY_MS_MAX: u64 = 600_000;
/// The most limits at once.
const LIMITS_MAX: usize = 8;

/// How the provider behaves. As JSON it is what `GET /admin/faults` shows, and any part of it is
/// what `POST /admin/faults` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatorSettings {
    /// Whether an exchange replaces the refresh token. If not, it stays, and no new one is sent.
    pub rotate: bool,
    /// How long after its rotation the immediately previous token is still accepted, in seconds.
    pub grace_s: u64,
    /// Whether a token presented after it was rotated away kills its whole family.
    pub kill_on_reuse: bool,
    /// Lifetime of an access token, in seconds.
    pub access_token_s: u64,
    /// How long a refresh token lives without being used, in seconds. None is for ever.
    pub refresh_idle_s: Option<u64>,
    /// How long a family lives from the sign-in, however often it is refreshed, in seconds. None
    /// is for ever.
    pub refresh_absolute_s: Option<u64>,
    /// The rate limits, all of them in force at once.
    pub limits: Vec<RequestLimit>,
    /// Whether and how a reply that turns a request away names the time to wait.
    pub retry_after: RetryAfter,
    /// The wait that faults ask for (`throttle_429`, `http_503`), in seconds. None sends no
    /// header.
    pub fault_retry_after_s: Option<u64>,
    /// The body of a 429.
    pub quota_body: QuotaBody,
    /// The reply to a dead refresh token.
    pub dead_reply: DeadReply,
    /// How clients may authenticate.
    pub client_auth: ClientAuth,
    /// The middle of the time between a request and its reply, in milliseconds.
    pub latency_ms: u64,
    /// How far that time spreads to either side, evenly, in milliseconds.
    pub latency_spread_ms: u64,
    /// How long a reply that never comes holds the connection at most, in seconds.
    pub no_reply_hold_s: u64,
    /// How often what goes wrong.
    pub faults: FaultRates,
}

/// How a `Retry-After` header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum RetryAfter {
    /// As a number of seconds.
    Seconds,
    /// As an HTTP date.
    HttpDate,
    /// Not at all.
    Absent,
}

/// What a 429 carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum QuotaBody {
    /// `{"error":"temporarily_unavailable",…}`.
    Oauth,
    /// `{"developerMessage":"Quota limit exceeded."}`, without an `error`.
    Autodesk,
}

/// How a dead refresh token is answered: providers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum DeadReply {
    /// 400 `invalid_grant`, as RFC 6749 has it.
    Rfc,
    /// 403 `invalid_grant`.
    Forbidden,
    /// 200 with `{"error":"bad_refresh_token"}`.
    Github,
    /// 200 with `{"ok":false,"error":"invalid_refresh_token"}`.
    Slack,
    /// 400 with `{"status":"BAD_REFRESH_TOKEN"}`, without an `error`.
    Hubspot,
}

/// Which ways of client authentication the provider takes. Both at once is refused in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Basic or body.
    Any,
    /// The `Authorization` header only.
    Basic,
    /// `client_id` and `client_secret` in the form only.
    Body,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            rotate: true,
            grace_s: 0,
            kill_on_reuse: true,
            access_token_s: 3_600,
            refresh_idle_s: None,
            refresh_absolute_s: None,
            limits: Vec::new(),
            retry_after: RetryAfter::Seconds,
            fault_retry_after_s: Some(1),
            quota_body: QuotaBody::Oauth,
            dead_reply: DeadReply::Rfc,
            client_auth: ClientAuth::Any,
            latency_ms: 0,
            latency_spread_ms: 0,
            no_reply_hold_s: 300,
            faults: FaultRates::default(),
        }
    }
}

impl SimulatorSettings {
    /// Checks every number against its range.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let ranges = [
            ("grace_s", self.grace_s, 0, SECONDS_MAX),
            ("access_token_s", self.access_token_s, 1, SECONDS_MAX),
            ("refresh_idle_s", self.refresh_idle_s.unwrap_or(1), 1, SECONDS_MAX),
            ("refresh_absolute_s", self.refresh_absolute_s.unwrap_or(1), 1, SECONDS_MAX),
            ("fault_retry_after_s", self.fault_retry_after_s.unwrap_or(0), 0, SECONDS_MAX),
            ("latency_ms", self.latency_ms, 0, LATENCY_MS_MAX),
            ("latency_spread_ms", self.latency_spread_ms, 0, LATENCY_MS_MAX),
            ("no_reply_hold_s", self.no_reply_hold_s, 0, SECONDS_MAX),
            ("limits", self.limits.len() as u64, 0, LIMITS_MAX as u64),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(SettingsError::Range { name, value, least, most });
            }
        }
        self.faults.validate()
    }

    /// These settings with a JSON merge patch (RFC 7396) applied: what the patch does not name
    /// stays, and null is the default.
    pub fn patched(&self, patch: &Value) -> Result<Self, SettingsError> {
        if !patch.is_object() {
            return Err(SettingsError::NotAnObject);
        }
        let mut merged = serde_json::to_value(self)?;
        merge(&mut merged, patch);
        let settings: Self = serde_json::from_value(merged)?;
        settings.validate()?;
        Ok(settings)
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let (Value::Object(target), Value::Object(patch)) = (&mut *target, patch) else {
        *target = patch.clone();
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            // An unknown name must stay to be refused.
            if target.remove(name).is_none() {
                target.insert(name.clone(), Value::Null);
            }
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let before = SimulatorSettings { grace_s: 9, ..SimulatorSettings::default() };
        let patch = json!({"latency_ms": 5, "limits": ["3/s"], "faults": {"http_500": 0.5}});
        let after = before.patched(&patch).unwrap();
        assert_eq!((after.grace_s, after.latency_ms, after.faults.http_500), (9, 5, 0.5));
        assert_eq!(after.limits, vec!["3/s".parse().unwrap()]);
        let again = after.patched(&json!({"faults": {"http_503": 0.1}, "grace_s": null})).unwrap();
        assert_eq!((again.faults.http_500, again.faults.http_503, again.grace_s), (0.5, 0.1, 0));
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (patch, name) in [
            (json!({"latncy_ms": 5}), "latncy_ms"),
            (json!({"latncy_ms": null}), "latncy_ms"),
            (json!({"faults": {"http_500": 2}}), "http_500"),
            (json!({"access_token_s": 0}), "access_token_s"),
            (json!({"limits": ["0/s"]}), "0/s"),
            (json!({"faults": {"http_501": 0.1}}), "http_501"),
            (json!([]), "object"),
        ] {
            let error = SimulatorSettings::default().patched(&patch).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
