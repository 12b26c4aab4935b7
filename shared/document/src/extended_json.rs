//! BSON as people and files have it: relaxed extended JSON that reads back as the same BSON.

use bson::spec::BinarySubtype;
use bson::{Bson, Document, Uuid};
use serde_json::{Map, Value, json};

/// A document as extended JSON.
pub fn of_document(document: Document) -> Value {
    let members = document.into_iter().map(|(name, value)| (name, of_value(value)));
    Value::Object(members.collect::<Map<_, _>>())
}

/// A value as extended JSON: plain where the plain form reads back as the same type and value.
fn of_value(value: Bson) -> Value {
    match value {
        Bson::Document(document) => of_document(document),
        Bson::Array(values) => Value::Array(values.into_iter().map(of_value).collect()),
        // A small number in the plain form would read back as an int32.
        Bson::Int64(number) if i32::try_from(number).is_ok() => {
            json!({ "$numberLong": number.to_string() })
        }
        Bson::Binary(binary) if binary.subtype == BinarySubtype::Uuid => {
            <[u8; 16]>::try_from(binary.bytes.as_slice()).map_or_else(
                |_| Bson::Binary(binary.clone()).into_relaxed_extjson(),
                |bytes| json!({ "$uuid": Uuid::from_bytes(bytes).to_string() }),
            )
        }
        other => other.into_relaxed_extjson(),
    }
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, doc, oid::ObjectId};
    use proptest::prelude::*;

    use super::*;

    fn round_trip(document: Document) -> Document {
        let text = of_document(document).to_string();
        match Bson::try_from(serde_json::from_str::<Value>(&text).unwrap()).unwrap() {
            Bson::Document(document) => document,
            other => panic!("not a document: {other:?}"),
        }
    }

    #[test]
    fn every_type_reads_back_as_itself() {
        let document = doc! {
            "z": ObjectId::new(), "a": "text", "int": 5, "long": 5_i64, "far": i64::MIN,
            "double": 5.0, "zero": -0.0, "fraction": 0.1 + 0.2, "inf": f64::INFINITY, "null": null,
            "date": DateTime::from_millis(1_795_493_241_259), "before": DateTime::from_millis(-5),
            "uuid": Uuid::new(), "true": true, "nested": { "b": [1, 2_i64, { "$x": 1 }], "a": {} },
        };
        assert_eq!(round_trip(document.clone()), document);
    }

    proptest! {
        #[test]
        fn every_number_reads_back_as_itself(double: f64, long: i64, int: i32) {
            prop_assume!(!double.is_nan());
            let document = doc! { "double": double, "long": long, "int": int };
            prop_assert_eq!(round_trip(document.clone()), document);
        }
    }
}
