//! Documents out of a file: JSON lines or one JSON array, without holding the file in memory.
//!
//! What is wrong is told by its place and kind, and never quoted: it may hold a token.

use std::fmt;
use std::io::{BufRead, Read};

use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};
use tokio::sync::mpsc::Sender;

/// The longest line that is read: more than MongoDB takes as a document.
const MAX_LINE_BYTES: u64 = 32 * 1024 * 1024;

/// What was read.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    /// A JSON object.
    Document {
        /// Where it was: `line 7`, `element 7`.
        place: String,
        document: Map<String, Value>,
    },
    /// Something else.
    Broken { place: String, why: String },
}

/// Reads documents and sends them, until the end or until nobody receives them.
pub(super) fn read_documents(mut source: impl BufRead, items: &Sender<Item>) {
    match first_byte(&mut source) {
        Ok(Some(b'[')) => read_array(source, items),
        Ok(_) => read_lines(source, items),
        Err(error) => {
            let why = format!("cannot be read: {}", error.kind());
            drop(items.blocking_send(Item::Broken { place: "the beginning".to_owned(), why }));
        }
    }
}

/// The first byte that is neither white space nor a byte order mark, left in place.
fn first_byte(source: &mut impl BufRead) -> std::io::Result<Option<u8>> {
    if source.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        source.consume(3);
    }
    // Lines are counted from here, so only what stands on the first line is skipped.
    let skipped = source.fill_buf()?.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    source.consume(skipped);
    Ok(source.fill_buf()?.first().copied())
}

fn read_lines(mut source: impl BufRead, items: &Sender<Item>) {
    for number in 1_u64.. {
        let place = format!("line {number}");
        let mut line = Vec::new();
        let read = source.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        let item = match read {
            Ok(0) => return,
            Ok(_) if line.len() as u64 == MAX_LINE_BYTES => {
                let why = format!("longer than {MAX_LINE_BYTES} bytes; what follows is not read");
                drop(items.blocking_send(Item::Broken { place, why }));
                return;
            }
            Ok(_) if line.trim_ascii().is_empty() => continue,
            Ok(_) => match serde_json::from_slice(line.trim_ascii_end()) {
                Ok(value) => of_value(value, place),
                Err(error) => {
                    let why = format!("{}, column {}", kind(&error), error.column());
                    Item::Broken { place, why }
                }
            },
            Err(error) => {
                let why = format!("cannot be read: {}; what follows is not read", error.kind());
                drop(items.blocking_send(Item::Broken { place, why }));
                return;
            }
        };
        if items.blocking_send(item).is_err() {
            return;
        }
    }
}

fn read_array(source: impl BufRead, items: &Sender<Item>) {
    let mut deserializer = serde_json::Deserializer::from_reader(source);
    let read = deserializer.deserialize_seq(Elements(items)).and_then(|()| deserializer.end());
    if let Err(error) = read {
        let place = format!("line {}, column {}", error.line(), error.column());
        let why = format!("{}; what follows is not read", kind(&error));
        drop(items.blocking_send(Item::Broken { place, why }));
    }
}

/// Sends each element of an array as it is read.
struct Elements<'a>(&'a Sender<Item>);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of documents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        for number in 1_u64.. {
            let Some(value) = elements.next_element()? else { break };
            if self.0.blocking_send(of_value(value, format!("element {number}"))).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn of_value(value: Value, place: String) -> Item {
    match value {
        Value::Object(document) => Item::Document { place, document },
        _ => Item::Broken { place, why: "not a JSON object".to_owned() },
    }
}

fn kind(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        Category::Syntax => "not valid JSON",
        Category::Eof => "the JSON ends too early",
        Category::Data => "not what is expected here",
        Category::Io => "cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Item> {
        let (sender, mut items) = tokio::sync::mpsc::channel(100);
        read_documents(text.as_bytes(), &sender);
        drop(sender);
        std::iter::from_fn(|| items.blocking_recv()).collect()
    }

    fn places(text: &str) -> Vec<String> {
        let told = |item| match item {
            Item::Document { place, .. } => place,
            Item::Broken { place, why } => format!("{place}: {why}"),
        };
        read(text).into_iter().map(told).collect()
    }

    #[test]
    fn lines_are_read_with_blank_ones_windows_ends_and_a_byte_order_mark() {
        assert_eq!(places("\u{feff}{\"_id\":1}\r\n\r\n{\"_id\":2}"), ["line 1", "line 3"]);
        assert_eq!(places("\n\n{}"), ["line 3"]);
        assert!(places("").is_empty());
    }

    #[test]
    fn an_array_is_read_however_it_is_laid_out() {
        assert_eq!(places("  [\n {\"_id\":1},\n {\"_id\":2}\n]\n"), ["element 1", "element 2"]);
        assert!(places("[]").is_empty());
    }

    #[test]
    fn what_is_broken_is_named_and_the_rest_is_read() {
        assert_eq!(
            places("{}\n{\"a\": oops\n[1]\n{\"a\n{}"),
            [
                "line 1",
                "line 2: not valid JSON, column 7",
                "line 3: not a JSON object",
                "line 4: the JSON ends too early, column 3",
                "line 5"
            ]
        );
    }

    #[test]
    fn an_array_that_breaks_off_says_where() {
        let places = places("[{},\n{\"a\": oops}, {}]");
        assert_eq!(places[0], "element 1");
        assert_eq!(places[1], "line 2, column 7: not valid JSON; what follows is not read");
        assert_eq!(places.len(), 2);
    }

    #[test]
    fn nothing_that_is_read_is_quoted() {
        for text in
            ["{\"t\":\"s3cret\" oops", "\"s3cret\"", "[{\"t\":\"s3cret\"}, s3cret]", "[\"s3cret\"]"]
        {
            let broken = |item: &Item| matches!(item, Item::Broken { .. });
            let told: Vec<Item> = read(text).into_iter().filter(broken).collect();
            assert!(!told.is_empty() && !format!("{told:?}").contains("s3cret"), "{told:?}");
        }
    }
}
