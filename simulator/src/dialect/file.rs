//! A provider's data file, as far as a provider itself has to know it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;

/// What a file says. Facts for clients alone (limits, lifetimes, sources) are passed over.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct DialectFile {
    pub(super) token_url: String,
    pub(super) client_auth: ClientWay,
    pub(super) scope: Option<String>,
    pub(super) rotation: Option<String>,
    pub(super) request: RequestShape,
    pub(super) vector: Vec<AnswerVector>,
}

/// How clients authenticate there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClientWay {
    #[default]
    Basic,
    BasicRaw,
    BasicSecretOnly,
    Body,
    None,
    PrivateKeyJwt,
    Certificate,
}

impl ClientWay {
    pub(super) const fn is_header(self) -> bool {
        matches!(self, Self::Basic | Self::BasicRaw | Self::BasicSecretOnly)
    }
}

/// How requests are written there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RequestShape {
    pub(super) method: Option<String>,
    pub(super) body: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) omit: Vec<String>,
    pub(super) names: BTreeMap<String, String>,
    pub(super) parameters: BTreeMap<String, Value>,
    pub(super) headers: BTreeMap<String, Value>,
    pub(super) assertion_audience: Option<String>,
    pub(super) assertion_issuer: Option<String>,
}

/// An answer of the provider, and what it means.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct AnswerVector {
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
    pub(super) means: String,
    pub(super) access_token: Option<String>,
    pub(super) refresh_token: Option<String>,
    /// When the answer was given, where it tells times.
    now: Option<String>,
}

impl AnswerVector {
    /// How much later than the vector it is, in seconds. None where the vector tells no times.
    pub(super) fn age_s(&self, now_us: u64) -> Option<i64> {
        let then = humantime::parse_rfc3339_weak(self.now.as_ref()?).ok()?;
        let then = then.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        Some((now_us / 1_000_000).cast_signed() - then.cast_signed())
    }
}

/// A scalar of the file as it is sent.
pub(super) fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
