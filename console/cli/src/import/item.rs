//! How a file is read, and what comes out of it.

use serde_json::{Map, Value};

use super::columns::KnownFields;
use super::mapping::Mapping;

/// More than MongoDB takes as a document.
pub(super) const DOCUMENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What was read.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    /// A document.
    Document {
        /// The line that it begins on.
        line: u64,
        document: Map<String, Value>,
    },
    /// Something else.
    Broken { line: u64, column: Option<usize>, why: String },
    /// Nothing of the file can be imported, for this reason.
    Foreign(String),
    /// Words on what is done with the file.
    Note(String),
}

impl Item {
    pub(super) fn broken(line: u64, why: impl Into<String>) -> Self {
        Self::Broken { line, column: None, why: why.into() }
    }
}

/// How a file is read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// It is a table: `--csv`, or its name says so.
    pub(super) is_table: bool,
    pub(super) mapping: Mapping,
    pub(super) fields: KnownFields,
}
