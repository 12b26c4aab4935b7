//! Expiry times in a provider's answer.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::answer_path::AnswerPath;
use crate::Timestamp;

/// The longest lifetime that is believed.
const EXPIRY_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
/// A Unix time above this is in milliseconds: in seconds it would be the year 5138.
const FIRST_IN_MS: u64 = 100_000_000_000;

/// When a token ends: a duration after the answer, or a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenExpiry {
    /// After this duration.
    In(Duration),
    /// At this time.
    At(Timestamp),
}

impl TokenExpiry {
    /// The time that is left at `from`; None if it is over.
    pub fn life_from(self, from: Timestamp) -> Option<Duration> {
        let life = match self {
            Self::In(life) => life,
            Self::At(end) => end.since(from),
        };
        (!life.is_zero()).then(|| life.min(EXPIRY_MAX))
    }
}

/// The ends that an answer reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ToldEnds {
    /// The access token's.
    pub access: Option<TokenExpiry>,
    /// The refresh token's, unless it is exchanged.
    pub idle: Option<TokenExpiry>,
    /// The grant's, in any case.
    pub absolute: Option<TokenExpiry>,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// Seconds from now.
    #[default]
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// Seconds since 1970.
    AtSeconds,
    /// Milliseconds since 1970.
    AtMilliseconds,
    /// RFC 3339, or an HTTP date.
    AtText,
    /// A time in any of these forms.
    At,
    /// A JWT that ends at the time of its claim `exp`.
    JwtExp,
}

impl TimeFormat {
    /// Reads a value of an answer. Nonsense counts as missing: providers write 0 and -1 for
    /// "unknown".
    pub fn read(self, value: &Value) -> Option<TokenExpiry> {
        let number = || whole(value).filter(|number| *number > 0);
        let at = |ms: u64| Some(TokenExpiry::At(Timestamp::from_unix_ms(i64::try_from(ms).ok()?)));
        match self {
            Self::Seconds => Some(TokenExpiry::In(Duration::from_secs(number()?).min(EXPIRY_MAX))),
            Self::Milliseconds => {
                Some(TokenExpiry::In(Duration::from_millis(number()?).min(EXPIRY_MAX)))
            }
            Self::AtSeconds => at(number()?.checked_mul(1_000)?),
            Self::AtMilliseconds => at(number()?),
            Self::AtText => time_of(value.as_str()?.trim()).map(TokenExpiry::At),
            Self::At => match number() {
                Some(number) if number < FIRST_IN_MS => Self::AtSeconds.read(value),
                Some(_) => Self::AtMilliseconds.read(value),
                None => Self::AtText.read(value),
            },
            Self::JwtExp => Self::AtSeconds.read(&claims_of(value.as_str()?)?["exp"]),
        }
    }
}

/// The claims of a JWT. The provider vouches for its own token, so nothing is verified.
fn claims_of(token: &str) -> Option<Value> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// A whole number, also as text; decimals are cut off.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
fn whole(value: &Value) -> Option<u64> {
    let float = match value {
        Value::Number(number) => match number.as_u64() {
            Some(number) => return Some(number),
            None => number.as_f64()?,
        },
        Value::String(text) => match text.trim().parse() {
            Ok(number) => return Some(number),
            Err(_) => text.trim().parse().ok()?,
        },
        _ => return None,
    };
    (1.0..1e15).contains(&float).then_some(float as u64)
}

/// RFC 3339 with any offset, or an HTTP date.
fn time_of(text: &str) -> Option<Timestamp> {
    if let Ok(time) = httpdate::parse_http_date(text) {
        let since_epoch = time.duration_since(std::time::UNIX_EPOCH).ok()?;
        return Some(Timestamp::default().plus(since_epoch));
    }
    let (time, offset) = match text.rfind(['+', '-']).filter(|at| *at > "2026-01-31T".len()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let time: Timestamp = time.parse().ok()?;
    let digits = offset.get(1..).unwrap_or_default().replace(':', "");
    let number =
        |at: std::ops::Range<usize>| digits.get(at).and_then(|two| two.parse::<u64>().ok());
    let minutes = number(0..2).unwrap_or(0) * 60 + number(2..4).unwrap_or(0);
    let offset_by = Duration::from_secs(minutes * 60);
    Some(if offset.starts_with('-') { time.plus(offset_by) } else { time.minus(offset_by) })
}

/// Where an answer reports a time, and in which format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimePlace {
    place: TimeSource,
    format: TimeFormat,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TimeSource {
    Path(AnswerPath),
    Header(String),
}

impl TimePlace {
    /// At the top of the body.
    pub(super) fn named(name: &str, format: TimeFormat) -> Option<Self> {
        let place = TimeSource::Path(AnswerPath::try_from(name.to_owned()).ok()?);
        Some(Self { place, format })
    }

    /// The value in the body.
    pub(super) fn read(&self, body: &Value) -> Option<TokenExpiry> {
        let TimeSource::Path(path) = &self.place else { return None };
        path.all(body).into_iter().find_map(|value| self.format.read(value))
    }

    /// The value in the headers or the body.
    pub fn read_answer<'a>(
        &self,
        header: impl Fn(&str) -> Option<&'a str>,
        body: Option<&Value>,
    ) -> Option<TokenExpiry> {
        match &self.place {
            TimeSource::Path(_) => self.read(body?),
            TimeSource::Header(name) => self.format.read(&Value::from(header(name)?)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeSettings {
    path: Option<AnswerPath>,
    header: Option<String>,
    #[serde(default, rename = "as")]
    format: TimeFormat,
}

impl<'de> Deserialize<'de> for TimePlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = TimePlace;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a path such as \"body.expires_in\", or { path = \"…\", as = \"at_seconds\" }",
                )
            }
            fn visit_str<E: Error>(self, path: &str) -> Result<TimePlace, E> {
                let path = AnswerPath::try_from(path.to_owned()).map_err(E::custom)?;
                Ok(TimePlace { place: TimeSource::Path(path), format: TimeFormat::Seconds })
            }
            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<TimePlace, A::Error> {
                let TimeSettings { path, header, format } =
                    TimeSettings::deserialize(MapAccessDeserializer::new(members))?;
                let place = match (path, header) {
                    (Some(path), None) => TimeSource::Path(path),
                    (None, Some(header)) => TimeSource::Header(header),
                    _ => return Err(A::Error::custom("it needs either path or header")),
                };
                Ok(TimePlace { place, format })
            }
        }
        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOON: i64 = 1_795_867_200_000;

    #[test]
    fn a_time_is_read_in_each_form() {
        let at = Some(TokenExpiry::At(Timestamp::from_unix_ms(NOON)));
        let hour = Some(TokenExpiry::In(Duration::from_secs(3_600)));
        for (format, value, read) in [
            (TimeFormat::Seconds, json!(3600), hour),
            (TimeFormat::Seconds, json!("3600"), hour),
            (TimeFormat::Seconds, json!("3600.7"), hour),
            (TimeFormat::Milliseconds, json!(3_600_000), hour),
            (TimeFormat::AtSeconds, json!(NOON / 1000), at),
            (TimeFormat::AtMilliseconds, json!(NOON.to_string()), at),
            (TimeFormat::AtText, json!("2026-11-28T12:00:00Z"), at),
            (TimeFormat::AtText, json!("2026-11-28T12:00:00.000+00:00"), at),
            (TimeFormat::AtText, json!("2026-11-28T07:30:00-04:30"), at),
            (TimeFormat::AtText, json!("2026-11-28T13:00:00+0100"), at),
            (TimeFormat::AtText, json!("Sat, 28 Nov 2026 12:00:00 GMT"), at),
            (TimeFormat::At, json!(NOON), at),
            (TimeFormat::At, json!(NOON / 1000), at),
            (TimeFormat::At, json!("2026-11-28T12:00:00Z"), at),
            (TimeFormat::JwtExp, json!("e30.eyJleHAiOjE3OTU4NjcyMDB9.c2ln"), at),
            (TimeFormat::JwtExp, json!("e30.e30.c2ln"), None),
            (TimeFormat::JwtExp, json!("opaque"), None),
            (TimeFormat::Seconds, json!(0), None),
            (TimeFormat::Seconds, json!(-1), None),
            (TimeFormat::AtText, json!("soon"), None),
            (TimeFormat::AtSeconds, json!({}), None),
        ] {
            assert_eq!(format.read(&value), read, "{format:?} {value}");
        }
    }

    #[test]
    fn a_past_end_gives_no_lifetime() {
        let now = Timestamp::from_unix_ms(NOON);
        assert_eq!(TokenExpiry::At(now).life_from(now), None);
        let life = TokenExpiry::At(now.plus(Duration::from_secs(5))).life_from(now);
        assert_eq!(life, Some(Duration::from_secs(5)));
        assert_eq!(TokenExpiry::In(Duration::MAX).life_from(now), Some(EXPIRY_MAX));
    }
}
