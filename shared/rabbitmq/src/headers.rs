//! The headers of a dead letter. Operators see them in RabbitMQ's management pages, so they are
//! words and numbers. Reading is tolerant: a message may come from the broker, another release or
//! anybody.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString};

use evergrant_domain::{DeadLetter, DeadReason, DocumentId, Job, ProviderId, Timestamp};

const REASON: &str = "x-evergrant-reason";
const PROVIDER: &str = "x-evergrant-provider";
const DOCUMENT_ID: &str = "x-evergrant-document-id";
const HTTP_STATUS: &str = "x-evergrant-http-status";
const CODE: &str = "x-evergrant-code";
const DESCRIPTION: &str = "x-evergrant-description";
const ATTEMPTS: &str = "x-evergrant-attempts";
const FIRST_FAILED_AT: &str = "x-evergrant-first-failed-at";
const LAST_FAILED_AT: &str = "x-evergrant-last-failed-at";
const REDRIVE_COUNT: &str = "x-evergrant-redrive-count";
const WORKER: &str = "x-evergrant-worker";
/// The broker's own record of where a message died.
const DEATHS: &str = "x-death";

/// All headers of a message must fit into one frame, so each of ours is limited.
const TEXT_BYTES_MAX: usize = 2_048;
/// A longer `_id` is only in the body.
const ID_BYTES_MAX: usize = 16_384;

/// The headers of `letter`.
pub(super) fn write(letter: &DeadLetter) -> FieldTable {
    let mut headers = FieldTable::default();
    put_text(&mut headers, REASON, Some(letter.reason.as_str()));
    put_text(&mut headers, PROVIDER, Some(letter.provider.as_str()));
    let id = letter.id.as_ref().map(|id| serde_json::Value::from(id.clone()).to_string());
    put_text(&mut headers, DOCUMENT_ID, id.as_deref().filter(|id| id.len() <= ID_BYTES_MAX));
    put_number(&mut headers, HTTP_STATUS, letter.http_status.map(i64::from));
    put_text(&mut headers, CODE, letter.code.as_deref().map(cut));
    put_text(&mut headers, DESCRIPTION, letter.description.as_deref().map(cut));
    put_number(&mut headers, ATTEMPTS, Some(i64::from(letter.attempts)));
    put_text(&mut headers, FIRST_FAILED_AT, Some(&letter.first_failed_at.to_string()));
    put_text(&mut headers, LAST_FAILED_AT, Some(&letter.last_failed_at.to_string()));
    put_number(&mut headers, REDRIVE_COUNT, Some(i64::from(letter.redrive_count)));
    put_text(&mut headers, WORKER, letter.worker.as_deref().map(cut));
    headers
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

fn put_text(headers: &mut FieldTable, key: &'static str, text: Option<&str>) {
    if let Some(text) = text {
        headers.insert(key.into(), AMQPValue::LongString(LongString::from(text)));
    }
}

fn put_number(headers: &mut FieldTable, key: &'static str, number: Option<i64>) {
    if let Some(number) = number {
        headers.insert(key.into(), AMQPValue::LongLongInt(number));
    }
}

/// Reads a message of `provider`'s dead queue as a dead letter, wherever it comes from.
pub(super) fn read(
    provider: &ProviderId,
    body: Vec<u8>,
    properties: &BasicProperties,
) -> DeadLetter {
    let none = FieldTable::default();
    let headers = properties.headers().as_ref().unwrap_or(&none);
    let job = Job::decode(&body).ok();
    let death = cause(headers);
    let sent_at = properties.timestamp().map(of_seconds);
    let died_at = death.at.or(sent_at).unwrap_or_default();
    DeadLetter {
        provider: provider.clone(),
        id: document_id(headers).or_else(|| job.as_ref().map(|job| job.id.clone())),
        reason: death.reason,
        http_status: number(headers, HTTP_STATUS),
        code: text(headers, CODE),
        description: text(headers, DESCRIPTION).or(death.description),
        attempts: number(headers, ATTEMPTS).unwrap_or(0),
        first_failed_at: time(headers, FIRST_FAILED_AT).unwrap_or(died_at),
        last_failed_at: time(headers, LAST_FAILED_AT).unwrap_or(died_at),
        redrive_count: number(headers, REDRIVE_COUNT)
            .unwrap_or_else(|| job.map_or(0, |job| job.redrive_count)),
        worker: text(headers, WORKER),
        body,
    }
}

/// Why a message became a dead letter.
struct Death {
    reason: DeadReason,
    description: Option<String>,
    at: Option<Timestamp>,
}

fn cause(headers: &FieldTable) -> Death {
    if let Some(reason) = text(headers, REASON) {
        let known = reason.parse();
        let description = known.is_err().then(|| format!("unknown reason {}", cut(&reason)));
        return Death { reason: known.unwrap_or(DeadReason::Broker), description, at: None };
    }
    broker_death(headers).unwrap_or_else(|| Death {
        reason: DeadReason::Broker,
        description: Some("put here by something other than Evergrant".to_owned()),
        at: None,
    })
}

/// The broker's record of moving a message, latest first.
fn broker_death(headers: &FieldTable) -> Option<Death> {
    let AMQPValue::FieldArray(deaths) = headers.inner().get(DEATHS)? else {
        return None;
    };
    let death = deaths.as_slice().iter().find_map(|death| match death {
        AMQPValue::FieldTable(death) => Some(death),
        _ => None,
    })?;
    let reason = text(death, "reason").unwrap_or_default();
    let queue = text(death, "queue").unwrap_or_default();
    let at = match death.inner().get("time") {
        Some(AMQPValue::Timestamp(seconds)) => Some(of_seconds(*seconds)),
        _ => None,
    };
    Some(if reason == "delivery_limit" {
        let description = format!("delivered too often without an acknowledgement, from {queue}");
        Death { reason: DeadReason::DeliveryLimit, description: Some(description), at }
    } else {
        let description = format!("the broker moved it here from {queue}: {reason}");
        Death { reason: DeadReason::Broker, description: Some(description), at }
    })
}

fn of_seconds(seconds: u64) -> Timestamp {
    Timestamp::from_unix_ms(i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX))
}

fn document_id(headers: &FieldTable) -> Option<DocumentId> {
    serde_json::from_str(&text(headers, DOCUMENT_ID)?).ok()
}

fn text(headers: &FieldTable, key: &str) -> Option<String> {
    match headers.inner().get(key)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// A number of any width: clients choose it by the habits of their language.
fn number<T: TryFrom<i64>>(headers: &FieldTable, key: &str) -> Option<T> {
    let number = match headers.inner().get(key)? {
        AMQPValue::ShortShortInt(number) => i64::from(*number),
        AMQPValue::ShortShortUInt(number) => i64::from(*number),
        AMQPValue::ShortInt(number) => i64::from(*number),
        AMQPValue::ShortUInt(number) => i64::from(*number),
        AMQPValue::LongInt(number) => i64::from(*number),
        AMQPValue::LongUInt(number) => i64::from(*number),
        AMQPValue::LongLongInt(number) => *number,
        _ => return None,
    };
    T::try_from(number).ok()
}

fn time(headers: &FieldTable, key: &str) -> Option<Timestamp> {
    text(headers, key)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    fn provider() -> ProviderId {
        "autodesk".parse().unwrap()
    }

    fn letter() -> DeadLetter {
        DeadLetter {
            body: b"not a job".to_vec(),
            provider: provider(),
            id: Some(DocumentId::ObjectId([9; 12])),
            reason: DeadReason::GrantDead,
            http_status: Some(400),
            code: Some("invalid_grant".to_owned()),
            description: Some("The refresh token is invalid or expired.".to_owned()),
            attempts: 3,
            first_failed_at: Timestamp::from_unix_ms(1_795_493_241_259),
            last_failed_at: Timestamp::from_unix_ms(1_795_493_999_001),
            redrive_count: 2,
            worker: Some("worker-1".to_owned()),
        }
    }

    fn round_trip(letter: &DeadLetter) -> DeadLetter {
        let properties = BasicProperties::default().with_headers(write(letter));
        read(&provider(), letter.body.clone(), &properties)
    }

    #[test]
    fn a_dead_letter_survives_the_queue() {
        assert_eq!(round_trip(&letter()), letter());
        let bare = DeadLetter {
            id: None,
            http_status: None,
            code: None,
            description: None,
            worker: None,
            ..letter()
        };
        assert_eq!(round_trip(&bare), bare);
    }

    #[test]
    fn every_reason_survives_the_queue() {
        for reason in DeadReason::ALL {
            let letter = DeadLetter { reason, ..letter() };
            assert_eq!(round_trip(&letter), letter);
        }
    }

    #[test]
    fn long_header_texts_are_cut_between_characters() {
        let long = DeadLetter { description: Some("é".repeat(100_000)), ..letter() };
        let description = round_trip(&long).description.unwrap();
        assert!(description.len() <= TEXT_BYTES_MAX);
        assert!(description.ends_with('é'));
    }

    #[test]
    fn a_letter_moved_by_the_broker_has_its_record() {
        let mut death = FieldTable::default();
        put_text(&mut death, "reason", Some("delivery_limit"));
        put_text(&mut death, "queue", Some("evergrant.refresh.autodesk.0"));
        put_number(&mut death, "count", Some(1));
        death.insert("time".into(), AMQPValue::Timestamp(1_795_493_241));
        let mut headers = FieldTable::default();
        let deaths = FieldArray::from(vec![AMQPValue::FieldTable(death)]);
        headers.insert(DEATHS.into(), AMQPValue::FieldArray(deaths));
        let job = Job {
            redrive_count: 4,
            ..Job::new(provider(), DocumentId::Integer(5), 0, Timestamp::default())
        };
        let properties = BasicProperties::default().with_headers(headers);
        let read = read(&provider(), job.encode(), &properties);
        assert_eq!(read.reason, DeadReason::DeliveryLimit);
        assert_eq!(read.id, Some(DocumentId::Integer(5)));
        assert_eq!(read.redrive_count, 4);
        assert_eq!(read.last_failed_at, Timestamp::from_unix_ms(1_795_493_241_000));
        assert!(read.description.unwrap().contains("evergrant.refresh.autodesk.0"));
    }

    #[test]
    fn a_foreign_message_is_a_dead_letter_too() {
        let read = read(&provider(), b"\xff\x00".to_vec(), &BasicProperties::default());
        assert_eq!((read.reason, read.id), (DeadReason::Broker, None));
        assert_eq!(read.body, b"\xff\x00");
        assert!(read.description.unwrap().contains("other than Evergrant"));
    }

    #[test]
    fn headers_of_wrong_types_are_ignored() {
        let mut headers = write(&letter());
        put_number(&mut headers, REASON, Some(7));
        put_text(&mut headers, HTTP_STATUS, Some("teapot"));
        put_number(&mut headers, ATTEMPTS, Some(-1));
        put_text(&mut headers, DOCUMENT_ID, Some("{"));
        put_text(&mut headers, FIRST_FAILED_AT, Some("yesterday"));
        let properties = BasicProperties::default().with_headers(headers);
        let read = read(&provider(), Vec::new(), &properties);
        assert_eq!((read.reason, read.attempts), (DeadReason::Broker, 0));
        assert_eq!((read.http_status, read.id), (None, None));
        assert_eq!(read.first_failed_at, Timestamp::default());
    }
}
