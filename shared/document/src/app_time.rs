//! Times as applications write them: dates, seconds, milliseconds and ISO 8601.

use bson::Bson;
use serde_json::Value;

use super::decode::timestamp;
use super::document_update::date;
use evergrant_domain::Timestamp;
use evergrant_domain::also_write::TimeForm;
use evergrant_domain::expiry::{TimeFormat, TokenExpiry};

/// No number below this is a time: in seconds it would be before September 2001.
const FIRST_S: f64 = 1e9;
/// A number from here on is in milliseconds: in seconds it would be the year 5138.
const FIRST_MS: f64 = 1e11;
/// And no time is later.
const LAST_MS: f64 = 1e15;

/// The time that a value tells. None for what is no time, and for a text that does not tell its zone.
pub fn read(value: &Bson) -> Option<Timestamp> {
    match value {
        Bson::DateTime(time) => Some(timestamp(*time)),
        Bson::String(text) if tells_zone(text) => {
            match TimeFormat::AtText.read(&Value::from(text.as_str()))? {
                TokenExpiry::At(time) => Some(time),
                TokenExpiry::In(_) => None,
            }
        }
        Bson::String(text) => of_number(text.parse().ok()?),
        value => of_number(float(value)?),
    }
}

/// A time in the form of another value, as its application wrote it. None if that is no time.
pub fn in_form_of(value: &Bson, time: Timestamp) -> Option<Bson> {
    read(value)?;
    Some(match value {
        Bson::DateTime(_) => date(time).into(),
        Bson::String(text) => match text.parse::<f64>() {
            Ok(number) => Bson::String(in_unit_of(number, time).to_string()),
            Err(_) => Bson::String(text_like(text, time)),
        },
        value => of_type(value, in_unit_of(float(value)?, time)),
    })
}

/// A time in a form that is told.
pub fn in_form(form: TimeForm, time: Timestamp) -> Bson {
    match form {
        TimeForm::Seconds => Bson::Int64(time.unix_ms().div_euclid(1_000)),
        TimeForm::Milliseconds => Bson::Int64(time.unix_ms()),
        TimeForm::Date => date(time).into(),
        TimeForm::Text => Bson::String(time.to_string()),
    }
}

fn float(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(number) => Some(f64::from(*number)),
        #[allow(clippy::cast_precision_loss, reason = "exact for every time")]
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "it is within the range")]
fn of_number(number: f64) -> Option<Timestamp> {
    match number {
        seconds if (FIRST_S..FIRST_MS).contains(&seconds) => {
            Some(Timestamp::from_unix_ms((seconds * 1_000.0) as i64))
        }
        ms if (FIRST_MS..LAST_MS).contains(&ms) => Some(Timestamp::from_unix_ms(ms as i64)),
        _ => None,
    }
}

fn in_unit_of(number: f64, time: Timestamp) -> i64 {
    if number >= FIRST_MS { time.unix_ms() } else { time.unix_ms().div_euclid(1_000) }
}

/// A number of the type of another value, where it fits.
fn of_type(value: &Bson, number: i64) -> Bson {
    match value {
        Bson::Int32(_) => i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32),
        #[allow(clippy::cast_precision_loss, reason = "exact for every time")]
        Bson::Double(_) => Bson::Double(number as f64),
        _ => Bson::Int64(number),
    }
}

/// Whether a text is ISO 8601 with a zone: `Z`, or hours from UTC.
fn tells_zone(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', ' ']) else { return false };
    date.len() == "2026-01-31".len()
        && date.starts_with(|c: char| c.is_ascii_digit())
        && (time.ends_with('Z') || time.contains(['+', '-']))
}

/// ISO 8601 as another text has it: as many digits of a second, and in UTC by the same sign.
fn text_like(text: &str, time: Timestamp) -> String {
    let full = time.to_string();
    let (seconds, ms) = full.trim_end_matches('Z').split_once('.').unwrap_or((&full, ""));
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = fraction.chars().take_while(char::is_ascii_digit).count();
    let point = if digits == 0 { "" } else { "." };
    let zone = if text.ends_with('Z') { "Z" } else { "+00:00" };
    format!("{seconds}{point}{ms:0<digits$.digits$}{zone}")
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;

    const THEN: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
    const NOW: Timestamp = Timestamp::from_unix_ms(1_795_493_241_259);

    #[test]
    fn a_time_is_kept_in_the_form_that_it_has() {
        let text = |text: &str| Bson::String(text.to_owned());
        for (before, after) in [
            (Bson::Int32(1_700_000_000), Bson::Int32(1_795_493_241)),
            (Bson::Int64(1_700_000_000), Bson::Int64(1_795_493_241)),
            (Bson::Double(1_700_000_000.0), Bson::Double(1_795_493_241.0)),
            (Bson::Int64(1_700_000_000_000), Bson::Int64(1_795_493_241_259)),
            (Bson::Double(1_700_000_000_000.0), Bson::Double(1_795_493_241_259.0)),
            (DateTime::from_millis(THEN.unix_ms()).into(), date(NOW).into()),
            (text("1700000000"), text("1795493241")),
            (text("2023-11-14T22:13:20Z"), text("2026-11-24T04:07:21Z")),
            (text("2023-11-14T22:13:20.000Z"), text("2026-11-24T04:07:21.259Z")),
            (text("2023-11-14T22:13:20.000000+00:00"), text("2026-11-24T04:07:21.259000+00:00")),
            (text("2023-11-14T23:13:20+01:00"), text("2026-11-24T04:07:21+00:00")),
        ] {
            assert_eq!(read(&before), Some(THEN), "{before}");
            assert_eq!(in_form_of(&before, NOW), Some(after), "{before}");
        }
    }

    #[test]
    fn what_is_no_time_is_not_taken_for_one() {
        let text = |text: &str| Bson::String(text.to_owned());
        for value in [
            Bson::Int32(3_600),
            Bson::Int32(-1),
            Bson::Double(f64::NAN),
            Bson::Null,
            Bson::Boolean(true),
            text(""),
            text("never"),
            text("2023-11-14"),
            text("2023-11-14T22:13:20"),
            text("3600"),
        ] {
            assert_eq!(read(&value), None, "{value}");
            assert_eq!(in_form_of(&value, NOW), None, "{value}");
        }
    }

    #[test]
    fn a_time_is_written_in_each_form_that_is_told() {
        for (form, written) in [
            (TimeForm::Seconds, Bson::Int64(1_795_493_241)),
            (TimeForm::Milliseconds, Bson::Int64(1_795_493_241_259)),
            (TimeForm::Date, date(NOW).into()),
            (TimeForm::Text, Bson::from("2026-11-24T04:07:21.259Z")),
        ] {
            assert_eq!(in_form(form, NOW), written, "{form:?}");
        }
    }
}
