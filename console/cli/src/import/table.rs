//! Documents out of a table: CSV, or columns with tabs, semicolons or bars between them.

use std::cell::Cell;
use std::io::{BufRead, Error, ErrorKind, Read, Result};
use std::rc::Rc;

use csv::{ErrorKind as Flaw, ReaderBuilder, StringRecord, Trim};
use serde_json::{Map, Value, json};

use super::columns::Columns;
use super::item::{DOCUMENT_BYTES_MAX, Item, Reading};
use super::mapping::set;

/// Reads a table with a line of names and sends its rows as documents.
pub(super) fn read_table(
    source: impl BufRead,
    separator: u8,
    reading: &Reading,
    send: impl Fn(Item) -> bool,
) {
    let left = Rc::new(Cell::new(0));
    let mut rows = reader(Bounded { source, left: Rc::clone(&left) }, separator);
    left.set(DOCUMENT_BYTES_MAX);
    let columns = match columns(&mut rows, reading) {
        Ok(columns) => columns,
        Err(why) => {
            send(Item::Foreign(why));
            return;
        }
    };
    if !columns.renamed.is_empty() {
        send(Item::Note(format!("columns taken: {}", columns.renamed.join(", "))));
    }
    let mut row = StringRecord::new();
    loop {
        left.set(DOCUMENT_BYTES_MAX);
        let line_before = rows.position().line();
        let item = match rows.read_record(&mut row) {
            Ok(false) => return,
            Ok(true) => document(&row, &columns),
            Err(error) => flaw(&error, line_before),
        };
        let is_end = matches!(&item, Item::Broken { why, .. } if why.ends_with(NOT_READ));
        if !send(item) || is_end {
            return;
        }
    }
}

/// What follows an error that ends the reading.
const NOT_READ: &str = "what follows is not read";

/// That a file is a table, and how it can be imported.
pub(super) fn table_preview(beginning: &[u8], separator: u8, reading: &Reading) -> String {
    let found = match columns(&mut reader(beginning, separator), reading) {
        Ok(columns) if columns.renamed.is_empty() => String::new(),
        Ok(columns) => format!(", which takes {}", columns.renamed.join(", ")),
        Err(why) => format!("; {why}"),
    };
    format!("it is a table (CSV), whose values are all texts: to import it, add --csv{found}")
}

fn reader<R: Read>(source: R, separator: u8) -> csv::Reader<R> {
    ReaderBuilder::new().delimiter(separator).trim(Trim::Headers).from_reader(source)
}

fn columns<R: Read>(
    rows: &mut csv::Reader<R>,
    reading: &Reading,
) -> std::result::Result<Columns, String> {
    let names = rows.headers().map_err(|_| "its first line cannot be read as names".to_owned())?;
    let names: Vec<_> = names.iter().map(str::to_owned).collect();
    Columns::of(&names, &reading.mapping, &reading.fields)
}

fn document(row: &StringRecord, columns: &Columns) -> Item {
    let line = row.position().map_or(0, csv::Position::line);
    let mut document = Map::new();
    for (cell, paths) in row.iter().zip(&columns.paths).filter(|(cell, _)| !cell.is_empty()) {
        for path in paths {
            if let Err(why) = set(&mut document, path, value(cell)) {
                return Item::broken(line, why);
            }
        }
    }
    Item::Document { line, document }
}

/// A cell as a value. An `ObjectId` is written as the shell does, by mongoexport too.
fn value(cell: &str) -> Value {
    let id = cell.strip_prefix("ObjectId(").and_then(|rest| rest.strip_suffix(')'));
    let id = id.map(|id| id.trim_matches(['"', '\'']));
    match id.filter(|id| id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        Some(id) => json!({ "$oid": id }),
        None => cell.into(),
    }
}

fn flaw(error: &csv::Error, line_before: u64) -> Item {
    let line = error.position().map_or(line_before, csv::Position::line);
    let why = match error.kind() {
        Flaw::UnequalLengths { expected_len, len, .. } => {
            format!("{len} columns, and the line of names has {expected_len}")
        }
        Flaw::Utf8 { .. } => "not valid UTF-8".to_owned(),
        Flaw::Io(error) => format!("cannot be read: {error}; {NOT_READ}"),
        _ => format!("cannot be read; {NOT_READ}"),
    };
    Item::broken(line, why)
}

/// A source that gives no more than so many bytes for one row: a quote that is never closed would take all
/// the memory. It leaves out the first half of a line end of Windows, with which the lines are miscounted.
struct Bounded<R> {
    source: R,
    left: Rc<Cell<usize>>,
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let read = self.source.read(buffer)?;
            let Some(left) = self.left.get().checked_sub(read) else {
                let why = "a row is too long: is a quote missing?";
                return Err(Error::new(ErrorKind::InvalidData, why));
            };
            self.left.set(left);
            let mut kept = 0;
            for place in 0..read {
                if buffer[place] != b'\r' {
                    buffer[kept] = buffer[place];
                    kept += 1;
                }
            }
            if kept > 0 || read == 0 {
                return Ok(kept);
            }
        }
    }
}
