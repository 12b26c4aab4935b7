//! What kind of file it is, by its beginning. A file of another kind is told in one sentence.

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Nothing but white space.
    Empty,
    /// JSON documents, one after another or in an array.
    Json,
    /// Lines with columns.
    Table { separator: u8 },
    /// Something else, and what can be done.
    Other(&'static str),
}

/// What stands between columns, in the order in which a tie is decided.
const SEPARATORS: [u8; 4] = [b',', b'\t', b';', b'|'];
/// The longest name of a column.
const NAME_CHARS_MAX: usize = 100;

/// What other kinds begin with.
const OTHERS: [(&[u8], &str); 12] = [
    (b"PK\x03\x04", "a zip archive or a workbook: unpack it, or save the table as CSV"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ\0", "compressed with xz: unpack it first"),
    (
        b"SQLite format 3\0",
        "a SQLite database: `evergrant migrate` reads one of Evergrant, and a query writes another \
         one's table as CSV",
    ),
    (b"\x6d\xe2\x99\x81", "an archive of mongodump: write the collection with mongoexport instead"),
    (b"PAR1", "a Parquet file: write it as JSON lines or as CSV"),
    (b"PGDMP", "a dump of PostgreSQL: write the table with \\copy … csv header instead"),
    (b"Obj\x01", "an Avro file: write it as JSON lines or as CSV"),
    (b"%PDF", "a PDF file: JSON documents or a table (CSV) are wanted"),
    (b"<", "XML or HTML: JSON documents or a table (CSV) are wanted"),
    (b"-----BEGIN", "a key, a certificate or an encrypted message: JSON documents are wanted"),
];
const BSON: &str = "BSON, as mongodump writes it: write the collection with mongoexport instead";
const BINARY: &str = "binary data: JSON documents or a table (CSV) are wanted";
const SQL: &str = "SQL: write the table as CSV, or its rows as JSON lines";
const TEXT: &str = "text that is neither JSON nor a table (CSV) with a line of names";
/// What dumps in SQL begin with.
const SQL_WORDS: [&[u8]; 6] =
    [b"--", b"/*!", b"INSERT INTO", b"CREATE TABLE", b"PRAGMA", b"BEGIN TRANSACTION"];

/// The kind of a file that begins so.
pub(super) fn file_kind(beginning: &[u8]) -> FileKind {
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| beginning.starts_with(magic)) {
        return FileKind::Other(what);
    }
    if beginning.contains(&0) {
        return FileKind::Other(if is_bson(beginning) { BSON } else { BINARY });
    }
    let text = beginning.trim_ascii_start();
    let is_sql =
        |word: &&[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let is_value = |line: &[u8]| matches!(line.trim_ascii_start().first(), Some(b'{' | b'['));
    if text.is_empty() {
        FileKind::Empty
    } else if SQL_WORDS.iter().any(is_sql) {
        FileKind::Other(SQL)
    } else if text.split(|byte| *byte == b'\n').any(is_value) {
        // Some programs write words before the documents.
        FileKind::Json
    } else {
        separator(text).map_or(FileKind::Other(TEXT), |separator| FileKind::Table { separator })
    }
}

/// A document of BSON begins with its length and the type of its first field.
fn is_bson(beginning: &[u8]) -> bool {
    let [a, b, c, d, kind, ..] = *beginning else { return false };
    let length = u32::from_le_bytes([a, b, c, d]);
    (5..0x0400_0000).contains(&length) && (0x01..=0x13).contains(&kind)
}

/// What stands between the columns of a table whose first line has names.
fn separator(text: &[u8]) -> Option<u8> {
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let (names, second) = (lines.next()?, lines.next());
    let count = |line: &[u8], separator| cells(line, separator).len() - 1;
    let separator = *SEPARATORS.iter().rev().max_by_key(|separator| count(names, **separator))?;
    let is_name = |cell: &&[u8]| {
        let cell = String::from_utf8_lossy(cell);
        cell.chars().count() <= NAME_CHARS_MAX
    };
    let is_table = count(names, separator) > 0
        && cells(names, separator).iter().all(is_name)
        && second.is_none_or(|second| count(second, separator) > 0);
    is_table.then_some(separator)
}

/// The cells of a line. A separator within quotes is none.
fn cells(line: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut is_quoted = false;
    line.split(|byte| {
        is_quoted ^= *byte == b'"';
        *byte == separator && !is_quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_json_however_they_are_laid_out() {
        for text in [
            "{\"_id\": 1}",
            " \n[\n{}]",
            "{\n  \"a,b\": 1\n}",
            "{ _id: 1 }",
            "connected to: mongodb://x, y\n{\"_id\": 1}\n",
            "/* 1 */\n{}",
        ] {
            assert_eq!(file_kind(text.as_bytes()), FileKind::Json, "{text}");
        }
    }

    #[test]
    fn a_table_is_known_by_its_line_of_names() {
        for (text, separator) in [
            ("_id,userId,refresh_token\nu1,u1,R.1\n", b','),
            ("_id;user id;refresh\r\n1;\"a;b\";c\r\n", b';'),
            ("id\trefresh_token\n1\tr\n", b'\t'),
            ("\"id\",\"refresh;token\"\n", b','),
            ("id|name|token\n1|2|3\n", b'|'),
        ] {
            assert_eq!(file_kind(text.as_bytes()), FileKind::Table { separator }, "{text}");
        }
    }

    #[test]
    fn other_kinds_are_named() {
        for (bytes, word) in [
            (b"PK\x03\x04...".as_slice(), "zip"),
            (b"SQLite format 3\0", "SQLite"),
            (b"\x31\0\0\0\x02_id\0\x03\0\0\0u1\0", "BSON"),
            (b"\x01\x02\0\xff\xff\xff\xff", "binary"),
            (b"<?xml version=\"1.0\"?>", "XML"),
            (b"-- PostgreSQL database dump\n--\n", "SQL"),
            (b"insert into accounts values (1, 'x');", "SQL"),
            (b"_id: u1\nuserId: u1\n", "neither JSON"),
            (b"\"just a text\"", "neither JSON"),
        ] {
            let FileKind::Other(what) = file_kind(bytes) else { panic!("{word}") };
            assert!(what.contains(word), "{what}");
        }
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(file_kind(b""), FileKind::Empty);
        assert_eq!(file_kind(b" \r\n\n"), FileKind::Empty);
    }
}
