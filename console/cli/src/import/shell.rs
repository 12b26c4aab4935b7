//! What MongoDB's shells print, as extended JSON: `ObjectId("…")`, `ISODate("…")`, `NumberLong(5)`, names
//! without quotes, texts in single quotes.

use serde_json::{Value, json};

use super::legacy::modern_time;

/// A text of the shell as extended JSON. A text that breaks off becomes one that breaks off, and one of
/// another kind None.
pub(super) fn extended(text: &str) -> Option<String> {
    let mut shell = Shell { rest: text, json: String::with_capacity(text.len()) };
    while let Some(character) = shell.rest.chars().next() {
        match character {
            '"' | '\'' => match shell.text()? {
                Text::Whole(text) => shell.json.push_str(&Value::from(text).to_string()),
                Text::Open => break,
            },
            '_' | '$' | 'a'..='z' | 'A'..='Z' => shell.word()?,
            '-' | '0'..='9' => shell.number()?,
            character => {
                shell.json.push(character);
                shell.skip(character.len_utf8());
            }
        }
    }
    Some(shell.json)
}

struct Shell<'a> {
    rest: &'a str,
    json: String,
}

enum Text {
    Whole(String),
    /// Its second quote is missing.
    Open,
}

impl Shell<'_> {
    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// A text in quotes, without them.
    fn text(&mut self) -> Option<Text> {
        let quote = self.rest.chars().next()?;
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((place, character)) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    Some((_, '\'')) => text.push('\''),
                    Some((_, escaped)) => text.extend(['\\', escaped]),
                    None => return Some(Text::Open),
                },
                character if character == quote => {
                    self.skip(place + 1);
                    return serde_json::from_str(&format!("\"{text}\"")).ok().map(Text::Whole);
                }
                '"' => text.push_str("\\\""),
                character => text.push(character),
            }
        }
        Some(Text::Open)
    }

    fn number(&mut self) -> Option<()> {
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        self.json.push_str(self.rest.get(..end)?);
        self.skip(end);
        Some(())
    }

    /// A name, a literal or a call.
    fn word(&mut self) -> Option<()> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let word = self.rest.get(..end)?;
        self.skip(end);
        self.skip_space();
        match (word, self.rest.chars().next()) {
            (_, Some(':')) => self.json.push_str(&Value::from(word).to_string()),
            ("new", Some(_)) => {}
            (_, Some('(')) => match self.arguments()? {
                Some(arguments) => self.json.push_str(&called(word, &arguments)?.to_string()),
                None => self.skip(self.rest.len()),
            },
            (word, _) => self.json.push_str(literal(word)?),
        }
        Some(())
    }

    /// What stands between `(` and `)`: texts and numbers as texts. None within where the end is missing.
    fn arguments(&mut self) -> Option<Option<Vec<String>>> {
        let mut arguments = Vec::new();
        self.skip(1);
        loop {
            self.skip_space();
            match self.rest.chars().next() {
                None => return Some(None),
                Some(')') => {
                    self.skip(1);
                    return Some(Some(arguments));
                }
                Some(',') => self.skip(1),
                Some('"' | '\'') => match self.text()? {
                    Text::Whole(text) => arguments.push(text),
                    Text::Open => return Some(None),
                },
                Some(_) => {
                    let end = self.rest.find([',', ')']).unwrap_or(self.rest.len());
                    let number = self.rest.get(..end)?.trim();
                    number.parse::<f64>().ok()?;
                    arguments.push(number.to_owned());
                    self.skip(end);
                }
            }
        }
    }
}

fn literal(word: &str) -> Option<&'static str> {
    Some(match word {
        "true" => "true",
        "false" => "false",
        "null" => "null",
        "undefined" => r#"{"$undefined":true}"#,
        "NaN" => r#"{"$numberDouble":"NaN"}"#,
        "Infinity" => r#"{"$numberDouble":"Infinity"}"#,
        "MinKey" => r#"{"$minKey":1}"#,
        "MaxKey" => r#"{"$maxKey":1}"#,
        // The beginning of a longer word, at the end of what is there.
        _ => return None,
    })
}

/// A call as extended JSON.
fn called(name: &str, arguments: &[String]) -> Option<Value> {
    Some(match (name, arguments) {
        ("ObjectId" | "ObjectID", [id]) => json!({ "$oid": id }),
        ("ISODate" | "Date", [time]) => match time.parse::<i64>() {
            Ok(_) => json!({ "$date": { "$numberLong": time } }),
            Err(_) => json!({ "$date": modern_time(time) }),
        },
        ("NumberLong" | "Long", [number]) => json!({ "$numberLong": number }),
        ("NumberInt" | "Int32", [number]) => json!({ "$numberInt": number }),
        ("NumberDecimal" | "Decimal128", [number]) => json!({ "$numberDecimal": number }),
        ("Double", [number]) => json!({ "$numberDouble": number }),
        ("UUID", [id]) => json!({ "$uuid": id }),
        ("BinData", [subtype, base64]) => {
            let subtype = format!("{:02x}", subtype.parse::<u8>().ok()?);
            json!({ "$binary": { "base64": base64, "subType": subtype } })
        }
        ("Timestamp", [time, increment]) => {
            let (time, increment) = (time.parse::<u32>().ok()?, increment.parse::<u32>().ok()?);
            json!({ "$timestamp": { "t": time, "i": increment } })
        }
        ("MinKey", []) => json!({ "$minKey": 1 }),
        ("MaxKey", []) => json!({ "$maxKey": 1 }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        serde_json::from_str(&extended(text).unwrap()).unwrap()
    }

    #[test]
    fn calls_are_their_types() {
        let text = r#"{ "_id" : ObjectId("65f0c0ffee65f0c0ffee65f0"), "at" : ISODate("2026-01-31T12:00:00.000+0000"),
            "day": ISODate("2026-01-31"), "ms": new Date(1769860800000), "n" : NumberLong(5), "m" : NumberLong("-6"),
            "i": NumberInt(7), "d": NumberDecimal("1.5"), "b": BinData(0,"AAEC"), "t": Timestamp(5, 1),
            "u": UUID("67e55044-10b1-426f-9247-bb680e5fe0c8"), "x": undefined, "y": null, "z": [true, -1.5e3] }"#;
        let time = |time: &str| json!({ "$date": time });
        assert_eq!(
            read(text),
            json!({
                "_id": { "$oid": "65f0c0ffee65f0c0ffee65f0" }, "at": time("2026-01-31T12:00:00.000+00:00"),
                "day": time("2026-01-31T00:00:00Z"), "ms": { "$date": { "$numberLong": "1769860800000" } },
                "n": { "$numberLong": "5" }, "m": { "$numberLong": "-6" }, "i": { "$numberInt": "7" },
                "d": { "$numberDecimal": "1.5" }, "b": { "$binary": { "base64": "AAEC", "subType": "00" } },
                "t": { "$timestamp": { "t": 5, "i": 1 } },
                "u": { "$uuid": "67e55044-10b1-426f-9247-bb680e5fe0c8" }, "x": { "$undefined": true },
                "y": null, "z": [true, -1500.0],
            })
        );
    }

    #[test]
    fn names_need_no_quotes_and_texts_may_have_single_ones() {
        let text = r#"{ _id: 'it\'s', $a1: "say \"x\"", c: 'a "b" \u00fc', d: 'ObjectId("x")' }"#;
        let json =
            json!({ "_id": "it's", "$a1": "say \"x\"", "c": "a \"b\" ü", "d": "ObjectId(\"x\")" });
        assert_eq!(read(text), json);
    }

    #[test]
    fn a_text_that_breaks_off_breaks_off() {
        for text in ["{ _id: 'x", "{ _id: ObjectId(", "{ \"a\" : ISODate(\"20", "{ _id"] {
            let error = extended(text).map(|text| serde_json::from_str::<Value>(&text));
            assert!(error.is_none_or(|read| read.is_err_and(|error| error.is_eof())), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_read() {
        for text in
            ["{ a: require('x') }", "{ a: oops }", "{ a: ObjectId(x) }", "{ a: Timestamp(1) }"]
        {
            assert_eq!(extended(text), None, "{text}");
        }
    }
}
