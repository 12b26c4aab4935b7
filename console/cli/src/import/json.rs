//! JSON values out of a text, one after another or in an array, on one line or on many.
//!
//! Each value is cut out by its brackets before it is parsed, so that one that is broken is told by its line
//! and the next one is read. No more than one value is held at a time.

use std::io::BufRead;

use serde_json::Value;
use serde_json::error::Category;

use super::item::{DOCUMENT_BYTES_MAX, Item};
use super::legacy::modernized;
use super::shell::extended;

/// Reads all values and sends them, until `send` says that nobody wants more.
pub(super) fn read_values(mut source: impl BufRead, send: impl Fn(Item) -> bool) {
    let mut cutter = Cutter { line: 1, ..Cutter::default() };
    loop {
        let bytes = match source.fill_buf() {
            Ok([]) => break,
            Ok(bytes) => bytes,
            Err(error) => {
                let why = format!("cannot be read: {error}; what follows is not read");
                send(Item::broken(cutter.line, why));
                return;
            }
        };
        for byte in bytes {
            if let Some(piece) = cutter.push(*byte)
                && !send_piece(&piece, &send)
            {
                return;
            }
            if cutter.piece.bytes.len() > DOCUMENT_BYTES_MAX {
                let why =
                    format!("longer than {DOCUMENT_BYTES_MAX} bytes; what follows is not read");
                send(Item::broken(cutter.piece.line, why));
                return;
            }
        }
        let read = bytes.len();
        source.consume(read);
    }
    let was_in_array = cutter.is_in_array;
    if let Some(piece) = cutter.cut()
        && !send_piece(&piece, &send)
    {
        return;
    }
    if was_in_array {
        send(Item::broken(cutter.line, "the file ends within its array: is it whole?"));
    }
}

fn send_piece(piece: &Piece, send: &impl Fn(Item) -> bool) -> bool {
    if piece.is_comment() {
        return true;
    }
    send(match piece.value().map(modernized) {
        Ok(Ok(Value::Object(document))) => Item::Document { line: piece.line, document },
        Ok(Ok(_)) => Item::broken(piece.line, "not a JSON object"),
        Ok(Err(why)) => Item::broken(piece.line, why),
        Err(Flaw { line, column, why }) => {
            Item::Broken { line, column: Some(column), why: why.to_owned() }
        }
    })
}

/// A value as it was cut out, or what stands in the place of one.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    /// The line and the column that it begins on.
    line: u64,
    column: usize,
}

/// What is wrong with a piece, and where.
struct Flaw {
    line: u64,
    column: usize,
    why: &'static str,
}

impl Piece {
    fn value(&self) -> Result<Value, Flaw> {
        let flaw = |line, column, why| Flaw { line, column, why };
        let Ok(text) = std::str::from_utf8(self.bytes.trim_ascii_end()) else {
            return Err(flaw(self.line, self.column, "not valid UTF-8"));
        };
        let error = match serde_json::from_str(text) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // What MongoDB's shell prints is no JSON, and is read all the same.
        if let Some(Ok(value)) = extended(text).map(|text| serde_json::from_str(&text)) {
            return Ok(value);
        }
        let why = match error.classify() {
            Category::Eof => "the JSON ends too early",
            _ => "not valid JSON",
        };
        let before = if error.line() > 1 { 0 } else { self.column - 1 };
        let line = self.line + error.line() as u64 - 1;
        Err(flaw(line, before + error.column(), why))
    }

    /// Whether more text could make it a value.
    fn can_go_on(&self) -> bool {
        let ends_early =
            |text: &str| serde_json::from_str::<Value>(text).is_err_and(|error| error.is_eof());
        let Ok(text) = std::str::from_utf8(&self.bytes) else { return false };
        ends_early(text) || extended(text).is_some_and(|text| ends_early(&text))
    }

    /// Some programs number what they write: `/* 1 */`.
    fn is_comment(&self) -> bool {
        self.bytes.starts_with(b"//")
            || (self.bytes.starts_with(b"/*") && self.bytes.trim_ascii_end().ends_with(b"*/"))
    }
}

/// Cuts a text into pieces.
#[derive(Debug, Default)]
struct Cutter {
    line: u64,
    column: usize,
    piece: Piece,
    /// Brackets that are open in the piece.
    depth: usize,
    /// The quote of the text that is open.
    quote: Option<u8>,
    is_escaped: bool,
    /// The last byte before that is no white space, and whether one stands on this line.
    last: u8,
    is_line_blank: bool,
    /// Between `[` and `]` at the top.
    is_in_array: bool,
}

impl Cutter {
    /// Takes a byte. A piece that is whole by it, or broken off, is returned.
    fn push(&mut self, byte: u8) -> Option<Piece> {
        self.column += 1;
        let piece = if self.piece.bytes.is_empty() {
            self.between(byte);
            None
        } else if self.quote.is_some() {
            self.in_text(byte)
        } else {
            self.in_value(byte)
        };
        if byte == b'\n' {
            self.line += 1;
            self.column = 0;
            self.is_line_blank = true;
        } else if !byte.is_ascii_whitespace() {
            self.last = byte;
            self.is_line_blank = false;
        }
        piece
    }

    /// Takes what is there for a piece.
    fn cut(&mut self) -> Option<Piece> {
        self.depth = 0;
        self.quote = None;
        let piece = std::mem::take(&mut self.piece);
        (!piece.bytes.is_empty()).then_some(piece)
    }

    fn between(&mut self, byte: u8) {
        match byte {
            // Commas stand in arrays, and at the ends of lines where somebody left the brackets out. A
            // record separator begins each value of a JSON text sequence.
            b',' | 0x1e => {}
            b'[' if !self.is_in_array => self.is_in_array = true,
            b']' if self.is_in_array => self.is_in_array = false,
            byte if byte.is_ascii_whitespace() => {}
            byte => self.begin(byte),
        }
    }

    fn begin(&mut self, byte: u8) {
        self.piece = Piece { bytes: vec![byte], line: self.line, column: self.column };
        self.depth = usize::from(matches!(byte, b'{' | b'['));
        self.quote = matches!(byte, b'"' | b'\'').then_some(byte);
        self.is_escaped = false;
    }

    fn in_text(&mut self, byte: u8) -> Option<Piece> {
        // No text goes on over the end of a line: its quote is missing.
        if byte == b'\n' {
            return self.cut();
        }
        self.piece.bytes.push(byte);
        if std::mem::take(&mut self.is_escaped) {
            return None;
        }
        self.is_escaped = byte == b'\\';
        if self.quote == Some(byte) {
            self.quote = None;
        }
        None
    }

    fn in_value(&mut self, byte: u8) -> Option<Piece> {
        if self.depth == 0 {
            return self.in_scalar(byte);
        }
        let is_first_line = self.piece.line == self.line;
        match byte {
            b'{' | b'[' if self.is_misplaced() => {
                let broken = self.cut();
                self.between(byte);
                return broken;
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            b'"' | b'\'' => self.quote = Some(byte),
            // A line that cannot be the beginning of a value is all of a broken one.
            b'\n' if is_first_line && !self.piece.can_go_on() => return self.cut(),
            _ => {}
        }
        self.piece.bytes.push(byte);
        if self.depth == 0 { self.cut() } else { None }
    }

    /// A bracket that begins a line where no value can stand: the value before has lost its end.
    fn is_misplaced(&self) -> bool {
        self.is_line_blank && !matches!(self.last, b':' | b',' | b'[' | b'(')
    }

    /// A number, a word, or what is nothing that is known: it ends with its line or its place in an array.
    fn in_scalar(&mut self, byte: u8) -> Option<Piece> {
        match byte {
            b'\n' => self.cut(),
            b',' | b']' if self.is_in_array => {
                let piece = self.cut();
                self.between(byte);
                piece
            }
            byte => {
                self.quote = matches!(byte, b'"' | b'\'').then_some(byte);
                self.piece.bytes.push(byte);
                None
            }
        }
    }
}
