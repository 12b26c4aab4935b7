//! The `_id` in BSON and back.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawDocumentBuf, doc, oid::ObjectId};
use serde_json::Value;

use evergrant_domain::DocumentId;

/// Whole doubles beyond this are not exact.
const EXACT_DOUBLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The `_id` of a document.
pub fn from_bson(id: &Bson) -> DocumentId {
    match id {
        Bson::ObjectId(id) => DocumentId::ObjectId(id.bytes()),
        Bson::String(text) => DocumentId::String(text.clone()),
        Bson::Int32(number) => DocumentId::Integer(i64::from(*number)),
        Bson::Int64(number) => DocumentId::Integer(*number),
        Bson::Double(number) => whole(*number).map_or_else(|| other(id), DocumentId::Integer),
        Bson::Decimal128(number) => {
            number.to_string().parse().map_or_else(|_| other(id), DocumentId::Integer)
        }
        Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes }) => {
            bytes.as_slice().try_into().map_or_else(|_| other(id), DocumentId::Uuid)
        }
        _ => other(id),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "it is whole and within the range")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= EXACT_DOUBLE_MAX).then_some(number as i64)
}

fn other(id: &Bson) -> DocumentId {
    DocumentId::Other(id.clone().into_canonical_extjson().to_string())
}

/// The `_id` to ask the server for. None for one that no document can have: what comes in a message
/// may be anything, and a regular expression among the ids would match every document.
pub fn to_bson(id: &DocumentId) -> Option<Bson> {
    match id {
        DocumentId::ObjectId(bytes) => Some(Bson::ObjectId(ObjectId::from_bytes(*bytes))),
        DocumentId::String(text) => Some(Bson::String(text.clone())),
        // The server compares numbers by value, whatever their types.
        DocumentId::Integer(number) => Some(Bson::Int64(*number)),
        DocumentId::Uuid(bytes) => {
            Some(Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: bytes.to_vec() }))
        }
        DocumentId::Other(json) => {
            let json: Value = serde_json::from_str(json).ok()?;
            Bson::try_from(json).ok().filter(can_be_id)
        }
    }
}

/// Whether a document can have this `_id`.
pub fn can_be_id(id: &Bson) -> bool {
    match id {
        Bson::RegularExpression(_) | Bson::Array(_) | Bson::Undefined => false,
        Bson::Document(fields) => {
            fields.keys().all(|name| !name.starts_with('$'))
                // It cannot be written if a name in it holds a NUL.
                && RawDocumentBuf::try_from(&doc! { "_id": fields }).is_ok()
        }
        _ => true,
    }
}

/// The types that come after this id's in the server's order, by their numbers in `$type`. Numbers are
/// one type, and so are the texts.
pub fn later_types(id: &Bson) -> Vec<Bson> {
    /// The least key, null, numbers, texts, document, binary data, `ObjectId`, boolean, date, timestamp.
    const IN_ORDER: [&[i32]; 10] =
        [&[-1], &[10], &[1, 16, 18, 19], &[2, 14], &[3], &[5], &[7], &[8], &[9], &[17]];
    let place = match id {
        Bson::MinKey => 0,
        Bson::Null => 1,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => 2,
        Bson::String(_) | Bson::Symbol(_) => 3,
        Bson::Document(_) => 4,
        Bson::Binary(_) => 5,
        Bson::ObjectId(_) => 6,
        Bson::Boolean(_) => 7,
        Bson::DateTime(_) => 8,
        _ => 9,
    };
    let later = IN_ORDER.iter().skip(place + 1);
    later.flat_map(|types| types.iter().copied().map(Bson::Int32)).collect()
}

/// What comes after an id in the server's order, in parts that it can compare: what is greater, and
/// what is of a later type. Nothing for an id that no document can have.
pub fn after(id: &DocumentId) -> Vec<Document> {
    let Some(id) = to_bson(id) else { return Vec::new() };
    let later = later_types(&id);
    let of_later_types = (!later.is_empty()).then(|| doc! { "_id": { "$type": later } });
    std::iter::once(doc! { "_id": { "$gt": id } }).chain(of_later_types).collect()
}

/// The ids to ask the server for.
pub fn all_to_bson(ids: &[DocumentId]) -> Vec<Bson> {
    ids.iter().filter_map(to_bson).collect()
}

/// An id in the form that `from_bson` gives it: a message may write it in another.
pub fn canonical(id: &DocumentId) -> DocumentId {
    to_bson(id).map_or_else(|| id.clone(), |id| from_bson(&id))
}

/// What an application may have as the id of the user that someone typed.
pub fn user_ids(user: &str) -> Vec<Bson> {
    let mut ids = vec![Bson::from(user)];
    let read = user.parse().ok().and_then(|id| to_bson(&id));
    ids.extend(
        read.filter(|id| matches!(id, Bson::Int64(_) | Bson::ObjectId(_) | Bson::Binary(_))),
    );
    ids
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;

    #[test]
    fn every_id_comes_back_as_it_was() {
        for id in [
            Bson::ObjectId(ObjectId::new()),
            Bson::from("text"),
            Bson::Int64(5),
            Bson::Double(1.5),
            Bson::Boolean(true),
            Bson::Null,
            Bson::DateTime(DateTime::from_millis(5)),
            Bson::Document(doc! { "b": 1, "a": { "$x": 2_i64 } }),
            Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 16] }),
            Bson::Binary(Binary { subtype: BinarySubtype::UuidOld, bytes: vec![7; 16] }),
        ] {
            assert_eq!(to_bson(&from_bson(&id)), Some(id));
        }
    }

    #[test]
    fn numbers_of_one_value_are_one_id() {
        let five = DocumentId::Integer(5);
        let decimal = Bson::Decimal128("5".parse().unwrap());
        for number in [Bson::Int32(5), Bson::Int64(5), Bson::Double(5.0), decimal] {
            assert_eq!(from_bson(&number), five);
        }
    }

    #[test]
    fn an_id_has_one_form_however_a_message_writes_it() {
        let relaxed = DocumentId::Other(r#"{"$date":"1970-01-01T00:00:00.005Z"}"#.into());
        let stored = from_bson(&Bson::DateTime(DateTime::from_millis(5)));
        assert_eq!(canonical(&relaxed), stored);
    }

    #[test]
    fn what_no_document_can_have_is_not_asked_for() {
        for json in [
            r#"{"$regularExpression":{"pattern":".*","options":""}}"#,
            r#"{"$gt":""}"#,
            r#"{"$undefined":true}"#,
            r#"{"a\u0000b":1}"#,
            r#"{"$oid":5}"#,
        ] {
            assert_eq!(to_bson(&DocumentId::Other(json.into())), None, "{json}");
        }
    }
}
