//! An `_id` as bytes that sort as MongoDB sorts ids, so that both stores list and export in one order.

use bson::{Bson, Document};

/// What ends a text or a document within a key: less than whatever could follow.
const END: u8 = 0;

/// The key of an `_id`. Ids that MongoDB takes for equal have one key.
pub(super) fn of(id: &Bson) -> Vec<u8> {
    let mut key = Vec::with_capacity(32);
    put(&mut key, id);
    key
}

/// The type first, in MongoDB's order of types.
fn put(key: &mut Vec<u8>, value: &Bson) {
    key.push(rank(value));
    match value {
        Bson::Int32(number) => put_integer(key, i64::from(*number)),
        Bson::Int64(number) => put_integer(key, *number),
        Bson::Double(number) => put_double(key, *number),
        Bson::Decimal128(number) => put_decimal(key, &number.to_string()),
        Bson::String(text) | Bson::Symbol(text) => put_text(key, text.as_bytes()),
        Bson::Document(document) => put_document(key, document),
        Bson::Array(values) => {
            values.iter().for_each(|value| put(key, value));
            key.push(END);
        }
        Bson::Binary(binary) => {
            key.extend(u32::try_from(binary.bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            key.push(binary.subtype.into());
            key.extend(&binary.bytes);
        }
        Bson::ObjectId(id) => key.extend(id.bytes()),
        Bson::Boolean(flag) => key.push(u8::from(*flag)),
        Bson::DateTime(time) => key.extend(ascending(time.timestamp_millis())),
        Bson::Timestamp(time) => {
            key.extend(time.time.to_be_bytes());
            key.extend(time.increment.to_be_bytes());
        }
        Bson::Null | Bson::Undefined | Bson::MinKey | Bson::MaxKey => {}
        other => put_text(key, other.clone().into_canonical_extjson().to_string().as_bytes()),
    }
}

const fn rank(value: &Bson) -> u8 {
    match value {
        Bson::MinKey => 1,
        Bson::Undefined => 2,
        Bson::Null => 3,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => 4,
        Bson::String(_) | Bson::Symbol(_) => 5,
        Bson::Document(_) => 6,
        Bson::Array(_) => 7,
        Bson::Binary(_) => 8,
        Bson::ObjectId(_) => 9,
        Bson::Boolean(_) => 10,
        Bson::DateTime(_) => 11,
        Bson::Timestamp(_) => 12,
        Bson::RegularExpression(_) => 13,
        Bson::DbPointer(_) => 14,
        Bson::JavaScriptCode(_) => 15,
        Bson::JavaScriptCodeWithScope(_) => 16,
        Bson::MaxKey => 17,
    }
}

/// Numbers compare by value, whatever their types: as a double first, then by what the double lacks.
#[allow(clippy::cast_precision_loss, reason = "what is lost follows as a remainder")]
#[allow(clippy::cast_possible_truncation, reason = "a rounded i64 fits into an i128")]
fn put_integer(key: &mut Vec<u8>, number: i64) {
    let rounded = number as f64;
    put_ordered(key, rounded);
    let remainder = i128::from(number) - rounded as i128;
    key.extend(ascending(i64::try_from(remainder).unwrap_or_default()));
}

fn put_double(key: &mut Vec<u8>, number: f64) {
    put_ordered(key, number);
    key.extend(ascending(0));
}

/// A decimal that is a whole number equals that number. Others keep their digits, so that two that
/// differ in the last one stay two.
fn put_decimal(key: &mut Vec<u8>, digits: &str) {
    if let Ok(number) = digits.parse::<i64>() {
        return put_integer(key, number);
    }
    let number: f64 = digits.parse().unwrap_or(f64::NAN);
    put_double(key, number);
    if number.to_string() != digits {
        put_text(key, digits.as_bytes());
    }
}

/// The bits of a double in ascending order. Not a number comes first; both zeros are one.
fn put_ordered(key: &mut Vec<u8>, number: f64) {
    let number = if number == 0.0 { 0.0 } else { number };
    let bits = if number.is_nan() { u64::MAX } else { number.to_bits() };
    let flipped = if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) };
    key.extend(flipped.to_be_bytes());
}

/// The bytes of a whole number in ascending order.
const fn ascending(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// A text, with an end that is less than any byte that could follow it.
fn put_text(key: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        key.push(*byte);
        if *byte == END {
            key.push(0xff);
        }
    }
    key.extend([END, END]);
}

/// Documents compare field by field: by the type, then the name, then the value.
fn put_document(key: &mut Vec<u8>, document: &Document) {
    for (name, value) in document {
        key.push(rank(value));
        put_text(key, name.as_bytes());
        put(key, value);
    }
    key.push(END);
}

#[cfg(test)]
mod tests {
    use bson::spec::BinarySubtype;
    use bson::{Binary, DateTime, doc, oid::ObjectId};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_sort_by_type_and_then_by_value() {
        let binary =
            |subtype, bytes: &[u8]| Bson::Binary(Binary { subtype, bytes: bytes.to_vec() });
        let in_order = [
            Bson::Null,
            Bson::Double(f64::NEG_INFINITY),
            Bson::Int64(i64::MIN),
            Bson::Int32(-1),
            Bson::Double(-0.5),
            Bson::Int32(0),
            Bson::Double(0.5),
            Bson::Int64(9_007_199_254_740_992),
            Bson::Int64(9_007_199_254_740_993),
            Bson::Int64(i64::MAX),
            Bson::Double(1e300),
            Bson::from(""),
            Bson::from("a"),
            Bson::from("a\u{0}b"),
            Bson::from("aa"),
            Bson::from("b"),
            Bson::from("ä"),
            Bson::from(doc! {}),
            Bson::from(doc! { "a": 1 }),
            Bson::from(doc! { "a": 1, "b": 1 }),
            Bson::from(doc! { "a": 2 }),
            Bson::from(doc! { "b": 0 }),
            Bson::from(doc! { "a": "text" }),
            binary(BinarySubtype::Generic, &[9]),
            binary(BinarySubtype::Uuid, &[1]),
            binary(BinarySubtype::Generic, &[1, 2]),
            Bson::ObjectId(ObjectId::from_bytes([0; 12])),
            Bson::ObjectId(ObjectId::from_bytes([1; 12])),
            Bson::Boolean(false),
            Bson::Boolean(true),
            Bson::DateTime(DateTime::from_millis(-5)),
            Bson::DateTime(DateTime::from_millis(5)),
        ];
        for pair in in_order.windows(2) {
            assert!(of(&pair[0]) < of(&pair[1]), "{:?} before {:?}", pair[0], pair[1]);
        }
    }

    #[test]
    fn numbers_of_one_value_are_one_id() {
        let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
        for same in [Bson::Int64(5), Bson::Double(5.0), decimal("5")] {
            assert_eq!(of(&same), of(&Bson::Int32(5)));
        }
        assert_eq!(of(&Bson::Double(-0.0)), of(&Bson::Int32(0)));
        assert_eq!(of(&decimal("1.5")), of(&Bson::Double(1.5)));
        assert_ne!(of(&decimal("0.10000000000000000000001")), of(&Bson::Double(0.1)));
    }

    proptest! {
        #[test]
        fn numbers_sort_by_value(a: i64, b: i64, c: f64, d: f64) {
            prop_assert_eq!(a.cmp(&b), of(&Bson::Int64(a)).cmp(&of(&Bson::Int64(b))));
            if let Some(order) = c.partial_cmp(&d) {
                prop_assert_eq!(order, of(&Bson::Double(c)).cmp(&of(&Bson::Double(d))));
            }
        }

        #[test]
        fn texts_sort_by_their_bytes(a: String, b: String) {
            let key = |text: &str| of(&Bson::from(text));
            prop_assert_eq!(a.as_bytes().cmp(b.as_bytes()), key(&a).cmp(&key(&b)));
        }
    }
}
