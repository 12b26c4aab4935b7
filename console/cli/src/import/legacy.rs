//! Extended JSON as older programs of MongoDB write it, as today's.

use serde_json::{Map, Value, json};

const OLD_BINARY: &str = "binary data in the old form, with $type beside $binary: write it as \
                          {\"$binary\": {\"base64\": …, \"subType\": …}}";

/// A value with all that it holds in today's form, or why that cannot be.
pub(super) fn modernized(value: Value) -> Result<Value, &'static str> {
    match value {
        Value::Array(values) => values.into_iter().map(modernized).collect(),
        Value::Object(fields) if fields.keys().any(|name| name.starts_with('$')) => typed(fields),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            let fields = fields.map(|(name, value)| modernized(value).map(|value| (name, value)));
            fields.collect::<Result<_, _>>().map(Value::Object)
        }
        value => Ok(value),
    }
}

/// A value with its type beside it. What is in today's form stays as it is.
fn typed(fields: Map<String, Value>) -> Result<Value, &'static str> {
    let field = |name: &str| fields.get(name);
    let text = |name: &str| field(name).and_then(Value::as_str);
    if let Some(date) = field("$date").filter(|_| fields.len() == 1) {
        return Ok(match date {
            Value::Number(_) => json!({ "$date": { "$numberLong": whole(date)? } }),
            Value::String(time) => json!({ "$date": modern_time(time) }),
            Value::Object(inner) => {
                let number = inner.get("$numberLong").ok_or("a $date that is no time")?;
                json!({ "$date": { "$numberLong": whole(number)? } })
            }
            _ => return Err("a $date that is no time"),
        });
    }
    if let Some(number) = field("$numberLong").filter(|_| fields.len() == 1) {
        return Ok(json!({ "$numberLong": whole(number)? }));
    }
    if let (Some(pattern), Some(options)) = (text("$regex"), text("$options")) {
        return Ok(json!({ "$regularExpression": { "pattern": pattern, "options": options } }));
    }
    if field("$binary").is_some_and(Value::is_string) {
        return Err(OLD_BINARY);
    }
    Ok(Value::Object(fields))
}

/// A whole number as a text.
fn whole(number: &Value) -> Result<String, &'static str> {
    /// Every whole number up to this has a double of its own.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let wrong = "a $date or a $numberLong that is no whole number";
    match number {
        Value::String(text) => {
            text.parse::<i64>().map(|whole| whole.to_string()).map_err(|_| wrong)
        }
        number => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(whole.to_string()),
            (None, Some(double)) if double.fract() == 0.0 && double.abs() < EXACT_MAX => {
                Ok(format!("{double:.0}"))
            }
            _ => Err(wrong),
        },
    }
}

/// A time with a colon in its offset, which older programs leave out, and with hours, which a date lacks.
pub(super) fn modern_time(time: &str) -> String {
    let is_digit = |place: usize| time.as_bytes().get(place).is_some_and(u8::is_ascii_digit);
    let end = time.len();
    let sign = end.checked_sub(5).and_then(|place| time.as_bytes().get(place).copied());
    if end == "2026-01-31".len() && (0..4).all(is_digit) {
        return format!("{time}T00:00:00Z");
    }
    if time.is_ascii() && matches!(sign, Some(b'+' | b'-')) && (end - 4..end).all(is_digit) {
        return format!("{}:{}", &time[..end - 2], &time[end - 2..]);
    }
    time.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_forms_become_todays() {
        for (old, new) in [
            (json!({ "$date": 123 }), json!({ "$date": { "$numberLong": "123" } })),
            (json!({ "$date": 1.5e12 }), json!({ "$date": { "$numberLong": "1500000000000" } })),
            (
                json!({ "$date": "2014-02-10T10:50:42.389-0800" }),
                json!({ "$date": "2014-02-10T10:50:42.389-08:00" }),
            ),
            (json!({ "$date": "2014-02-10" }), json!({ "$date": "2014-02-10T00:00:00Z" })),
            (json!({ "$numberLong": 5 }), json!({ "$numberLong": "5" })),
            (
                json!({ "$regex": "a", "$options": "i" }),
                json!({ "$regularExpression": { "pattern": "a", "options": "i" } }),
            ),
        ] {
            assert_eq!(
                modernized(json!({ "a": [{ "b": old }] })),
                Ok(json!({ "a": [{ "b": new }] }))
            );
        }
    }

    #[test]
    fn todays_forms_stay() {
        let document = json!({
            "_id": { "$oid": "65f0c0ffee65f0c0ffee65f0" }, "d": { "$date": "2014-02-10T10:50:42Z" },
            "e": { "$date": { "$numberLong": "5" } }, "n": { "$numberLong": "-5" },
            "b": { "$binary": { "base64": "AAEC", "subType": "00" } }, "r": { "$ref": "a", "$id": 1 },
        });
        assert_eq!(modernized(document.clone()), Ok(document));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for old in [
            json!({ "$binary": "AAEC", "$type": "00" }),
            json!({ "$date": true }),
            json!({ "$numberLong": 1.5 }),
        ] {
            assert!(modernized(json!({ "a": old })).is_err());
        }
    }
}
