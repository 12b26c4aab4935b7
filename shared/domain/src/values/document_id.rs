//! The `_id` of a token document.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The `_id` of a token document. Applications choose its type, so every type that MongoDB allows
/// is accepted and carried through jobs unchanged, as MongoDB's extended JSON.
///
/// Whole numbers of any BSON type become [`DocumentId::Integer`], because MongoDB compares them by
/// value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum DocumentId {
    /// An ObjectId.
    ObjectId([u8; 12]),
    /// A string.
    String(String),
    /// A whole number.
    Integer(i64),
    /// A UUID (binary subtype 4).
    Uuid([u8; 16]),
    /// Any other type, as canonical extended JSON.
    Other(String),
}

/// JSON that is not an `_id`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "an _id must be an ObjectId ({{\"$oid\": …}}), a string, a number, a UUID ({{\"$uuid\": …}}) \
     or another type in MongoDB's extended JSON"
)]
pub struct InvalidDocumentId;

impl DocumentId {
    /// The ids that people confuse with this one: the hexadecimal digits of an ObjectId as a
    /// string, and the ObjectId of such a string.
    pub fn twins(&self) -> Vec<Self> {
        match self {
            Self::ObjectId(bytes) => {
                let digits = encode_hex(bytes);
                let upper = digits.to_uppercase();
                let has_letters = upper != digits;
                let upper = has_letters.then_some(Self::String(upper));
                std::iter::once(Self::String(digits)).chain(upper).collect()
            }
            Self::String(text) => decode_hex(text).map(Self::ObjectId).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

impl TryFrom<Value> for DocumentId {
    type Error = InvalidDocumentId;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        match value {
            Value::String(text) => Ok(Self::String(text)),
            Value::Number(number) if number.is_i64() => {
                number.as_i64().map(Self::Integer).ok_or(InvalidDocumentId)
            }
            Value::Array(_) => Err(InvalidDocumentId),
            Value::Object(map) => {
                if let Some(hex) = only_member(&map, "$oid") {
                    return decode_hex(hex).map(Self::ObjectId).ok_or(InvalidDocumentId);
                }
                if let Some(text) = only_member(&map, "$uuid") {
                    let id = uuid::Uuid::parse_str(text).map_err(|_| InvalidDocumentId)?;
                    return Ok(Self::Uuid(id.into_bytes()));
                }
                Ok(Self::Other(Value::Object(map).to_string()))
            }
            other => Ok(Self::Other(other.to_string())),
        }
    }
}

fn only_member<'a>(map: &'a serde_json::Map<String, Value>, key: &str) -> Option<&'a str> {
    if map.len() == 1 { map.get(key)?.as_str() } else { None }
}

impl From<DocumentId> for Value {
    fn from(id: DocumentId) -> Self {
        match id {
            DocumentId::ObjectId(bytes) => serde_json::json!({ "$oid": encode_hex(&bytes) }),
            DocumentId::String(text) => Self::String(text),
            DocumentId::Integer(number) => Self::from(number),
            DocumentId::Uuid(bytes) => {
                serde_json::json!({ "$uuid": uuid::Uuid::from_bytes(bytes).to_string() })
            }
            DocumentId::Other(json) => serde_json::from_str(&json).unwrap_or(Self::String(json)),
        }
    }
}

impl fmt::Display for DocumentId {
    /// The form that people see and type: an ObjectId's hexadecimal digits, a string as it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ObjectId(bytes) => f.write_str(&encode_hex(bytes)),
            Self::String(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Uuid(bytes) => write!(f, "{}", uuid::Uuid::from_bytes(*bytes)),
            Self::Other(json) => f.write_str(json),
        }
    }
}

impl FromStr for DocumentId {
    type Err = InvalidDocumentId;

    /// Parses what [`fmt::Display`] writes: 24 hexadecimal digits are an ObjectId, a UUID's form is
    /// a UUID, digits are a number, extended JSON is decoded, and anything else is a string. To
    /// name a string that looks like one of these, quote it as in JSON: `"123"`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 24
            && let Some(bytes) = decode_hex(text)
        {
            return Ok(Self::ObjectId(bytes));
        }
        if text.len() == 36
            && let Ok(id) = uuid::Uuid::parse_str(text)
        {
            return Ok(Self::Uuid(id.into_bytes()));
        }
        match serde_json::from_str::<Value>(text) {
            Ok(value) => Self::try_from(value),
            Err(_) => Ok(Self::String(text.to_owned())),
        }
    }
}

pub(crate) fn encode_hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn decode_hex(hex: &str) -> Option<[u8; 12]> {
    if hex.len() != 24 || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; 12];
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_id() -> impl Strategy<Value = DocumentId> {
        prop_oneof![
            any::<[u8; 12]>().prop_map(DocumentId::ObjectId),
            any::<String>().prop_map(DocumentId::String),
            any::<i64>().prop_map(DocumentId::Integer),
            any::<[u8; 16]>().prop_map(DocumentId::Uuid),
            Just(DocumentId::Other(r#"{"$date":{"$numberLong":"5"}}"#.to_owned())),
            Just(DocumentId::Other("true".to_owned())),
        ]
    }

    proptest! {
        #[test]
        fn every_id_survives_a_job_message(id in any_id()) {
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<DocumentId>(&json).unwrap(), id);
        }
    }

    #[test]
    fn people_type_what_they_see() {
        for text in ["65f0c0ffee65f0c0ffee65f0", "alice", "42", "true"] {
            assert_eq!(text.parse::<DocumentId>().unwrap().to_string(), text);
        }
        let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert!(matches!(uuid.parse(), Ok(DocumentId::Uuid(_))));
        assert_eq!("\"42\"".parse(), Ok(DocumentId::String("42".into())));
    }

    #[test]
    fn an_object_id_and_its_digits_are_twins() {
        let id: DocumentId = "65f0c0ffee65f0c0ffee65f0".parse().unwrap();
        let digits = DocumentId::String("65f0c0ffee65f0c0ffee65f0".into());
        let upper = DocumentId::String("65F0C0FFEE65F0C0FFEE65F0".into());
        assert_eq!(id.twins(), [digits.clone(), upper.clone()]);
        assert_eq!((digits.twins(), upper.twins()), (vec![id.clone()], vec![id]));
        for lonely in [DocumentId::Integer(42), DocumentId::String("alice".into())] {
            assert_eq!(lonely.twins(), []);
        }
    }

    #[test]
    fn a_broken_object_id_is_refused() {
        assert!(serde_json::from_str::<DocumentId>(r#"{"$oid":"xyz"}"#).is_err());
        assert!(serde_json::from_str::<DocumentId>("[1]").is_err());
    }
}
