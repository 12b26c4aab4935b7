//! Finds the documents in a stream of bytes, whether they come as JSON lines, as one JSON array
//! or pretty-printed one after the other, and holds no more than one of them.

/// The largest document, in bytes.
const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Cuts a stream of bytes into JSON objects.
#[derive(Debug, Default)]
pub struct DocumentSplitter {
    partial: Vec<u8>,
    depth: u32,
    in_string: bool,
    escaped: bool,
    found: u64,
}

/// What is not a stream of documents. Says where, never what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Something other than an object, a comma, a bracket or space.
    #[error("after {documents} documents there is something that is not a JSON object")]
    NotAnObject {
        /// The documents before it.
        documents: u64,
    },
    /// A document does not end within the limit.
    #[error("document {number} is larger than 8 MiB")]
    TooLarge {
        /// Which one, from 1.
        number: u64,
    },
    /// The stream ends within a document.
    #[error("the input ends within document {number}")]
    Unfinished {
        /// Which one, from 1.
        number: u64,
    },
}

impl DocumentSplitter {
    /// Takes the next bytes and hands over each document that they complete.
    pub fn feed<E: From<SplitError>>(
        &mut self,
        bytes: &[u8],
        mut found: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if self.depth == 0 {
                start = at;
            }
            if self.step(*byte)? {
                self.partial.extend_from_slice(&bytes[start..=at]);
                self.found += 1;
                found(self.found, &self.partial)?;
                self.partial.clear();
            }
        }
        if self.depth > 0 {
            self.partial.extend_from_slice(&bytes[start..]);
        }
        if self.partial.len() > DOCUMENT_BYTES_MAX {
            return Err(SplitError::TooLarge { number: self.found + 1 }.into());
        }
        Ok(())
    }

    /// The stream has ended: how many documents there were.
    pub fn finish(self) -> Result<u64, SplitError> {
        if self.depth > 0 {
            return Err(SplitError::Unfinished { number: self.found + 1 });
        }
        Ok(self.found)
    }

    /// Whether this byte ends a document.
    fn step(&mut self, byte: u8) -> Result<bool, SplitError> {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return Ok(false);
        }
        match byte {
            b'{' => self.depth += 1,
            b'}' if self.depth > 0 => {
                self.depth -= 1;
                return Ok(self.depth == 0);
            }
            b'"' if self.depth > 0 => self.in_string = true,
            b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']' => {}
            _ if self.depth > 0 => {}
            _ => {
                return Err(SplitError::NotAnObject { documents: self.found });
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, chunk: usize) -> Result<Vec<String>, SplitError> {
        let mut splitter = DocumentSplitter::default();
        let mut documents = Vec::new();
        for bytes in text.as_bytes().chunks(chunk) {
            splitter.feed::<SplitError>(bytes, |_, json| {
                documents.push(String::from_utf8(json.to_vec()).unwrap());
                Ok(())
            })?;
        }
        assert_eq!(splitter.finish()?, documents.len() as u64);
        Ok(documents)
    }

    #[test]
    fn lines_arrays_and_any_cut_of_the_stream_give_the_same_documents() {
        let documents = [r#"{"a":{"b":"}{\"]"},"c":[1,{"d":2}]}"#, r#"{"e":"é\\"}"#, "{}"];
        for text in
            [documents.join("\n"), format!("[{}]", documents.join(", ")), documents.join("")]
        {
            for chunk in 1..text.len() {
                assert_eq!(split(&text, chunk).unwrap(), documents, "chunks of {chunk}");
            }
        }
        assert_eq!(split(" \n", 1).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_document_is_told_by_its_place() {
        assert_eq!(split("{} 7", 9), Err(SplitError::NotAnObject { documents: 1 }));
        assert_eq!(split("{} {\"a\":", 3), Err(SplitError::Unfinished { number: 2 }));
        let huge = format!("{{\"a\":\"{}", "x".repeat(DOCUMENT_BYTES_MAX));
        assert_eq!(split(&huge, 65_536), Err(SplitError::TooLarge { number: 1 }));
    }
}
