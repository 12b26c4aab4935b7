//! Bytes as text in UTF-8: a packed file is unpacked, UTF-16 is decoded, a byte order mark is left out.

use std::io::{BufRead, BufReader, Cursor, Error, ErrorKind, Read, Result};

use flate2::bufread::MultiGzDecoder;

type Source = Box<dyn Read + Send>;

const GZIP: &[u8] = b"\x1f\x8b";
const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";
/// How often a file may be packed in itself.
const PACKED_TWICE: usize = 2;

/// The text of a file in UTF-8.
pub(super) fn plain_text(mut source: Source) -> Result<Source> {
    let (mut beginning, mut rest) = peeked(source)?;
    for _ in 0..PACKED_TWICE {
        if !beginning.starts_with(GZIP) {
            break;
        }
        source = Box::new(MultiGzDecoder::new(BufReader::new(rest)));
        (beginning, rest) = peeked(source)?;
    }
    Ok(match *beginning.as_slice() {
        [0xff, 0xfe, 0, 0] | [0, 0, 0xfe, 0xff] => {
            return Err(Error::new(ErrorKind::InvalidData, "it is UTF-32: write it as UTF-8"));
        }
        // A byte order mark, or a character of ASCII.
        [0xff, 0xfe, ..] => Box::new(Utf16::new(rest, u16::from_le_bytes, Mark::There)),
        [0xfe, 0xff, ..] => Box::new(Utf16::new(rest, u16::from_be_bytes, Mark::There)),
        [b'\t'..=b'~', 0, b'\t'..=b'~', 0] => {
            Box::new(Utf16::new(rest, u16::from_le_bytes, Mark::Missing))
        }
        [0, b'\t'..=b'~', 0, b'\t'..=b'~'] => {
            Box::new(Utf16::new(rest, u16::from_be_bytes, Mark::Missing))
        }
        _ if beginning.starts_with(UTF_8_MARK) => {
            let mut mark = [0; UTF_8_MARK.len()];
            rest.read_exact(&mut mark)?;
            rest
        }
        _ => rest,
    })
}

/// The first four bytes, and all of them.
fn peeked(mut source: Source) -> Result<(Vec<u8>, Source)> {
    let mut beginning = Vec::new();
    source.by_ref().take(4).read_to_end(&mut beginning)?;
    let all = Cursor::new(beginning.clone()).chain(source);
    Ok((beginning, Box::new(all)))
}

#[derive(PartialEq)]
enum Mark {
    There,
    Missing,
}

/// UTF-16 as UTF-8.
struct Utf16 {
    source: BufReader<Source>,
    unit: fn([u8; 2]) -> u16,
    skips_mark: bool,
    /// What was decoded and not yet read.
    decoded: Vec<u8>,
    read: usize,
}

impl Utf16 {
    fn new(source: Source, unit: fn([u8; 2]) -> u16, mark: Mark) -> Self {
        let source = BufReader::new(source);
        Self { source, unit, skips_mark: mark == Mark::There, decoded: Vec::new(), read: 0 }
    }

    fn next_unit(&mut self) -> Result<Option<u16>> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut bytes = [0; 2];
        self.source.read_exact(&mut bytes)?;
        Ok(Some((self.unit)(bytes)))
    }

    /// Decodes some more characters. None are left at the end.
    fn decode(&mut self) -> Result<()> {
        self.decoded.clear();
        self.read = 0;
        while self.decoded.len() < 4096 {
            let Some(first) = self.next_unit()? else { break };
            if std::mem::take(&mut self.skips_mark) {
                continue;
            }
            let is_half = (0xd800..0xdc00).contains(&first);
            let second = if is_half { self.next_unit()? } else { None };
            let mut character = char::decode_utf16([first].into_iter().chain(second));
            let Some(Ok(character)) = character.next() else {
                return Err(Error::new(ErrorKind::InvalidData, "it is not valid UTF-16"));
            };
            let mut utf_8 = [0; 4];
            self.decoded.extend(character.encode_utf8(&mut utf_8).as_bytes());
        }
        Ok(())
    }
}

impl Read for Utf16 {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.read == self.decoded.len() {
            self.decode()?;
        }
        let read = (&self.decoded[self.read..]).read(buffer)?;
        self.read += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const TEXT: &str = "{\"_id\": \"ü€😀\"}\n";

    fn text_of(bytes: Vec<u8>) -> Result<String> {
        let mut text = String::new();
        plain_text(Box::new(Cursor::new(bytes)))?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn text_is_the_same_in_every_encoding() {
        let marked = format!("\u{feff}{TEXT}");
        for bytes in [
            TEXT.as_bytes().to_vec(),
            marked.as_bytes().to_vec(),
            utf_16(TEXT, u16::to_le_bytes),
            utf_16(&marked, u16::to_le_bytes),
            utf_16(TEXT, u16::to_be_bytes),
            utf_16(&marked, u16::to_be_bytes),
        ] {
            assert_eq!(text_of(bytes.clone()).unwrap(), TEXT);
            assert_eq!(text_of(packed(&bytes)).unwrap(), TEXT);
            assert_eq!(text_of(packed(&packed(&bytes))).unwrap(), TEXT);
        }
    }

    #[test]
    fn packed_files_may_be_laid_end_to_end() {
        let both = [packed(b"{}\n"), packed(b"{}\n")].concat();
        assert_eq!(text_of(both).unwrap(), "{}\n{}\n");
    }

    #[test]
    fn short_texts_are_read() {
        for text in ["", "{", "{}\n"] {
            assert_eq!(text_of(text.into()).unwrap(), text);
        }
    }

    #[test]
    fn broken_encodings_are_errors() {
        let mut half = utf_16(&TEXT.repeat(3_000), u16::to_le_bytes);
        half.pop();
        let alone = [0xff, 0xfe, 0x3d, 0xd8, b'x', 0].to_vec();
        let mut cut = packed(TEXT.as_bytes());
        cut.truncate(cut.len() - 9);
        for bytes in [half, alone, cut, b"\xff\xfe\0\0{\0\0\0".to_vec()] {
            assert!(text_of(bytes).is_err());
        }
    }
}
