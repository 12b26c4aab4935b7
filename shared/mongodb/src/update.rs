//! Many updates in one command.
//!
//! The `update` command, since `Collection::bulk_write` does not exist for servers before 8.0 and
//! one call for each document costs a round trip each.

use std::collections::HashSet;
use std::time::Duration;

use mongodb::bson::raw::cstr;
use mongodb::bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use mongodb::options::{Acknowledgment, WriteConcern};

use super::MongoStore;
use super::errors::{driver, is_duplicate_key, not_durable, refused, server};
use evergrant_document::numbers::{millis, number};
use evergrant_ports::StoreError;

/// What one command may hold; the server's limit is 16 MiB.
const COMMAND_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A document may be as large as the server takes, so a command of one may be larger than that.
const COMMAND_STATEMENTS_MAX: usize = 1_000;
/// How long the server waits for a majority before it says that there is none.
const DURABLE_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How safe a write must be before it is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Durability {
    majority: bool,
    journal: Option<bool>,
}

/// On the disks of a majority: what must not be lost.
pub(super) const JOURNALLED: Durability = Durability { majority: true, journal: Some(true) };
/// At a majority: a lease that a failover rolls back would be taken twice.
pub(super) const DURABLE: Durability = Durability { majority: true, journal: None };
/// At the primary: a hint.
pub(super) const HINT: Durability = Durability { majority: false, journal: None };

impl Durability {
    pub(super) fn concern(self) -> WriteConcern {
        let w = if self.majority { Acknowledgment::Majority } else { Acknowledgment::Nodes(1) };
        let mut concern = WriteConcern::default();
        concern.w = Some(w);
        concern.w_timeout = self.majority.then_some(DURABLE_WRITE_TIMEOUT);
        concern.journal = self.journal;
        concern
    }

    fn document(self) -> RawDocumentBuf {
        let mut concern = rawdoc! { "w": 1 };
        if self.majority {
            concern = rawdoc! { "w": "majority", "wtimeout": millis(DURABLE_WRITE_TIMEOUT) };
        }
        if let Some(journal) = self.journal {
            concern.append(cstr!("j"), journal);
        }
        concern
    }
}

/// One update, as it is sent: what is written as BSON once need not be again.
pub(super) struct Statement(RawDocumentBuf);

impl Statement {
    /// None if it cannot be written as BSON: a name holds a NUL, or it nests too deep.
    pub(super) fn new(filter: Document, change: impl Into<Bson>) -> Option<Self> {
        let document = doc! { "q": filter, "u": change.into(), "multi": false };
        RawDocumentBuf::try_from(&document).ok().map(Self)
    }

    /// A document to insert.
    pub(super) fn insertion(document: &Document) -> Option<Self> {
        RawDocumentBuf::try_from(document).ok().map(Self)
    }
}

/// Splits statements into commands that are not too large, in order.
pub(super) fn batches(statements: Vec<Statement>) -> Vec<Vec<Statement>> {
    let mut batches: Vec<Vec<Statement>> = Vec::new();
    let mut bytes = usize::MAX;
    for statement in statements {
        let more = statement.0.as_bytes().len();
        let batch = batches.last_mut().filter(|batch| {
            batch.len() < COMMAND_STATEMENTS_MAX && bytes.saturating_add(more) <= COMMAND_BYTES_MAX
        });
        match batch {
            Some(batch) => {
                bytes += more;
                batch.push(statement);
            }
            None => {
                bytes = more;
                batches.push(vec![statement]);
            }
        }
    }
    batches
}

impl MongoStore {
    /// Carries out a batch of statements, each for itself, and says how many documents they found.
    ///
    /// # Errors
    /// If not all are known to be carried out as durably as asked. Some may be; all others are if one
    /// was refused.
    pub(super) async fn update(
        &self,
        operation: &'static str,
        statements: Vec<Statement>,
        durability: Durability,
    ) -> Result<u64, StoreError> {
        let command = rawdoc! {
            "update": self.collection.name(),
            "updates": RawArrayBuf::from_iter(statements.into_iter().map(|statement| statement.0)),
            "ordered": false,
            "writeConcern": durability.document(),
        };
        let reply = self.database.run_raw_command(command).await;
        read_reply(operation, &reply.map_err(|error| driver(operation, &error))?)
    }

    /// Inserts documents into a collection, each for itself, and says the places of those that a unique index
    /// rejects.
    ///
    /// # Errors
    /// If not all others are known to be inserted as durably as asked. Some may be.
    pub(super) async fn insert(
        &self,
        operation: &'static str,
        collection: &str,
        documents: Vec<Statement>,
        durability: Durability,
    ) -> Result<HashSet<usize>, StoreError> {
        let command = rawdoc! {
            "insert": collection,
            "documents": RawArrayBuf::from_iter(documents.into_iter().map(|document| document.0)),
            "ordered": false,
            "writeConcern": durability.document(),
        };
        let reply = self.database.run_raw_command(command).await;
        let mut reply = reply.map_err(|error| driver(operation, &error))?;
        let mut rejected = HashSet::new();
        if let Ok(errors) = reply.get_array_mut("writeErrors") {
            errors.retain(|error| match place_of_duplicate(error) {
                Some(place) => !rejected.insert(place),
                None => true,
            });
            if errors.is_empty() {
                reply.remove("writeErrors");
            }
        }
        read_reply(operation, &reply).map(|_| rejected)
    }
}

fn place_of_duplicate(error: &Bson) -> Option<usize> {
    let error = error.as_document()?;
    let code = error.get("code").and_then(number)?;
    let place = error.get("index").and_then(number)?;
    let is_duplicate = i32::try_from(code).is_ok_and(is_duplicate_key);
    usize::try_from(place).ok().filter(|_| is_duplicate)
}

/// How many documents a command found or inserted.
fn read_reply(operation: &'static str, reply: &Document) -> Result<u64, StoreError> {
    let error_in = |error: &Document| {
        let code = error.get("code").and_then(number).unwrap_or_default();
        let name = error.get_str("codeName").unwrap_or_default().to_owned();
        (i32::try_from(code).unwrap_or_default(), name)
    };
    // The words of a write error quote the document.
    let errors = reply.get_array("writeErrors").ok().into_iter().flatten();
    let errors = errors.map(|error| error.as_document().map(error_in).unwrap_or_default());
    let mut errors: Vec<_> = errors.map(|(code, name)| server(operation, code, &name)).collect();
    // A refusal says that all others are written, which is true of no other error.
    errors.sort_by_key(|error| matches!(error, StoreError::Refused { .. }));
    if let Ok(error) = reply.get_document("writeConcernError") {
        let (code, name) = error_in(error);
        errors.insert(0, not_durable(operation, code, &name));
    }
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => {
            reply.get("n").and_then(number).and_then(|n| u64::try_from(n).ok()).ok_or_else(|| {
                refused(operation, "the server does not tell how many documents it updated")
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A statement of about so many bytes.
    fn statement(bytes: usize) -> Statement {
        Statement(rawdoc! { "u": "x".repeat(bytes) })
    }

    #[test]
    fn commands_hold_neither_too_much_nor_too_many() {
        let half = COMMAND_BYTES_MAX / 2 - 100;
        let sizes = |statements| batches(statements).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![]), Vec::<usize>::new());
        assert_eq!(sizes((0..2_500).map(|_| statement(10)).collect()), [1_000, 1_000, 500]);
        assert_eq!(sizes((0..3).map(|_| statement(half)).collect()), [2, 1]);
        assert_eq!(sizes(vec![statement(10), statement(3 * half), statement(10)]), [1, 1, 1]);
    }

    #[test]
    fn an_error_in_a_reply_is_an_error_and_quotes_nothing() {
        let reply = doc! { "n": 3, "writeErrors": [{
            "index": 0, "code": 11_000, "errmsg": "dup key: { refresh_token: \"s3cret\" }",
        }] };
        let error = read_reply("commit", &reply).unwrap_err().to_string();
        assert!(error.contains("unique index") && !error.contains("s3cret"), "{error}");

        let reply =
            doc! { "n": 3, "writeConcernError": { "code": 64, "codeName": "WriteConcernFailed" } };
        let error = read_reply("commit", &reply).unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    }

    #[test]
    fn a_refusal_is_told_only_if_all_others_are_written_for_good() {
        let error = |code: i32| doc! { "index": 0, "code": code };
        let told = |reply: Document| read_reply("commit", &reply).unwrap_err();
        let both = told(doc! { "n": 1, "writeErrors": [error(11_000), error(112)] });
        assert!(matches!(both, StoreError::Unavailable { .. }), "{both}");
        let wtimeout = doc! { "code": 64, "codeName": "WriteConcernFailed" };
        let reply = doc! {
            "n": 1, "writeErrors": [error(11_000)], "writeConcernError": wtimeout,
        };
        let both = told(reply);
        assert!(matches!(both, StoreError::Unavailable { .. }), "{both}");
    }

    #[test]
    fn a_reply_tells_how_many_documents_were_found() {
        assert_eq!(read_reply("commit", &doc! { "n": 3.0, "nModified": 2 }).unwrap(), 3);
    }
}
