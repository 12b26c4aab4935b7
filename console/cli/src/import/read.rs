//! Documents out of a file, whatever form it has, without holding the file in memory.
//!
//! What is wrong is told by its line and kind, and never quoted: it may hold a token.

use std::io::{BufRead, BufReader, Cursor, Read};

use tokio::sync::mpsc::Sender;

use super::encoding::plain_text;
use super::item::{Item, Reading};
use super::json::read_values;
use super::kind::{FileKind, file_kind};
use super::mapping::Mapping;
use super::table::{read_table, table_preview};

/// How much of a file tells what kind of file it is.
const BEGINNING_BYTES: u64 = 16 * 1024;

/// Reads documents and sends them, until the end or until nobody receives them.
pub(super) fn read_documents(
    source: impl Read + Send + 'static,
    reading: &Reading,
    items: &Sender<Item>,
) {
    let send = |item| items.blocking_send(item).is_ok();
    let (beginning, source) = match begin(source) {
        Ok(begun) => begun,
        Err(error) => {
            send(Item::Foreign(format!("it cannot be read: {error}")));
            return;
        }
    };
    match file_kind(&beginning) {
        FileKind::Empty => {}
        FileKind::Json => read_values(source, |item| send(mapped(item, &reading.mapping))),
        FileKind::Table { separator } if reading.is_table => {
            read_table(source, separator, reading, send);
        }
        FileKind::Table { separator } => {
            send(Item::Foreign(table_preview(&beginning, separator, reading)));
        }
        FileKind::Other(what) => {
            send(Item::Foreign(format!("it is {what}")));
        }
    }
}

/// A document with its fields where they are wanted.
fn mapped(item: Item, mapping: &Mapping) -> Item {
    let Item::Document { line, mut document } = item else { return item };
    match mapping.apply(&mut document) {
        Ok(()) => Item::Document { line, document },
        Err(why) => Item::broken(line, why),
    }
}

/// The beginning of the text, and all of it.
fn begin(source: impl Read + Send + 'static) -> std::io::Result<(Vec<u8>, impl BufRead)> {
    let mut source = plain_text(Box::new(source))?;
    let mut beginning = Vec::new();
    source.by_ref().take(BEGINNING_BYTES).read_to_end(&mut beginning)?;
    let all = BufReader::new(Cursor::new(beginning.clone()).chain(source));
    Ok((beginning, all))
}

#[cfg(test)]
mod tests;
