//! Commits written together: one update of many documents.
//!
//! A server takes its locks, and plans, for each update. So commits that change the same parts of
//! their documents are one update, which has a table of what to write:
//!
//! ```text
//! filter  { _id: { $in: ids } }
//! update  { $replaceWith: { $let: {
//!             vars: { row: <the one of this document's _id> },
//!             in: { $cond: [<its condition>, <the document with its values>, "$$ROOT"] },
//!         } } }
//! ```
//!
//! The condition is in the update for the reason that `clock` gives. A document for which it does not
//! hold is replaced by itself, and a server does not count that among what it modified. Whatever comes
//! from outside is in a `$literal`, or a token that begins with `$` would be the name of a field.

use mongodb::bson::{RawArrayBuf, RawBson, RawDocumentBuf, rawdoc};

use super::ids;
use super::names::Names;
use super::shape::{ROW, Shape};
use super::update::Statement;
use crate::ports::Commit;

/// Documents of one update. The server may look through the whole table for each of them.
pub(super) const MANY: usize = 32;
/// How large a table becomes before another one is begun: a command takes 16 MiB.
const MAX_TABLE_BYTES: usize = 1024 * 1024;

/// The updates that make these commits, each of `most` documents at most. None if the names of fields
/// do not allow it: one holds a NUL, or lies within another.
pub(super) fn statements(
    names: &Names,
    commits: &[&Commit],
    most: usize,
) -> Option<Vec<Statement>> {
    let mut tables: Vec<Table> = Vec::new();
    for commit in commits {
        // Nothing can be written to an id that no document can have.
        let Some(id) = ids::to_bson(&commit.id) else { continue };
        let (shape, row) = Shape::of(names, commit, &id);
        let (id, row) = (RawBson::try_from(id).ok()?, RawDocumentBuf::try_from(&row).ok()?);
        let has_room = |table: &&mut Table| table.ids.len() < most && table.bytes < MAX_TABLE_BYTES;
        match tables.iter_mut().filter(has_room).find(|table| table.shape == shape) {
            Some(table) => table.push(id, row),
            None => {
                let mut table = Table { shape, ids: Vec::new(), rows: Vec::new(), bytes: 0 };
                table.push(id, row);
                tables.push(table);
            }
        }
    }
    tables.into_iter().map(|table| table.statement(names)).collect()
}

/// What one update writes: a row for each document.
struct Table {
    shape: Shape,
    ids: Vec<RawBson>,
    rows: Vec<RawDocumentBuf>,
    bytes: usize,
}

impl Table {
    fn push(&mut self, id: RawBson, row: RawDocumentBuf) {
        self.bytes += row.as_bytes().len();
        self.ids.push(id);
        self.rows.push(row);
    }

    fn statement(self, names: &Names) -> Option<Statement> {
        let written = RawDocumentBuf::try_from(&self.shape.written(names)?).ok()?;
        let (filter, row, multi) = match (self.ids.as_slice(), self.rows.as_slice()) {
            // Not by `$in`: a cluster finds the shard of one `_id`.
            ([id], [row]) => {
                (rawdoc! { "_id": id.clone() }, rawdoc! { "$literal": row.clone() }, false)
            }
            (ids, rows) => {
                let (ids, rows) = (RawArrayBuf::from_iter(ids), RawArrayBuf::from_iter(rows));
                let place = rawdoc! { "$indexOfArray": [{ "$literal": ids.clone() }, "$_id"] };
                let row = rawdoc! { "$arrayElemAt": [{ "$literal": rows }, place] };
                (rawdoc! { "_id": { "$in": ids } }, row, true)
            }
        };
        let written = rawdoc! { "$let": { "vars": { ROW: row }, "in": written } };
        Some(Statement::replace(filter, written, multi))
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, RawDocument, doc};

    use super::*;
    use crate::domain::{DocumentId, Timestamp, Write};

    fn commit(id: i64, write: Write) -> Commit {
        let (id, owner) = (DocumentId::Integer(id), "o".to_owned());
        Commit { id, owner, generation: Some(1), sent: Some("$sent".into()), write }
    }

    fn postponed(queued: bool) -> Write {
        Write::Postpone {
            attempts: 1,
            in_doubt: false,
            questioned: false,
            failing_since: None,
            last_error: None,
            next_refresh_at: queued.then_some(Timestamp::default()),
            queued_until: Timestamp::default(),
        }
    }

    /// The filters of the updates that are made of commits.
    fn filters(commits: &[Commit], most: usize) -> Vec<Document> {
        let names = Names::new("evergrant", crate::mongo::Fields::default());
        let statements = statements(&names, &commits.iter().collect::<Vec<_>>(), most).unwrap();
        let filter = |statement: &Statement| {
            let filter: &RawDocument = statement.as_document().get_document("q").unwrap();
            Document::try_from(filter).unwrap()
        };
        statements.iter().map(filter).collect()
    }

    #[test]
    fn commits_that_change_the_same_parts_are_one_update() {
        let commits = [(1, true), (2, false), (3, true)];
        let commits = commits.map(|(id, queued)| commit(id, postponed(queued)));
        let expected = [doc! { "_id": { "$in": [1_i64, 3_i64] } }, doc! { "_id": 2_i64 }];
        assert_eq!(filters(&commits, MANY), expected);
    }

    #[test]
    fn an_update_has_as_many_documents_as_it_may() {
        let commits: Vec<_> = (1..=5).map(|id| commit(id, postponed(true))).collect();
        let many = |ids: [i64; 2]| doc! { "_id": { "$in": ids.as_slice() } };
        assert_eq!(filters(&commits, 2), [many([1, 2]), many([3, 4]), doc! { "_id": 5_i64 }]);
        assert_eq!(filters(&commits[..2], 1), [doc! { "_id": 1_i64 }, doc! { "_id": 2_i64 }]);
    }

    #[test]
    fn tokens_of_a_megabyte_are_not_gathered_in_one_update() {
        let large = |id| Commit {
            sent: Some("x".repeat(MAX_TABLE_BYTES).into()),
            ..commit(id, postponed(true))
        };
        assert_eq!(filters(&[large(1), large(2)], MANY).len(), 2);
    }

    #[test]
    fn what_no_document_can_have_as_its_id_is_left_out() {
        let strange =
            Commit { id: DocumentId::Other(r#"{"$gt":""}"#.into()), ..commit(1, postponed(true)) };
        assert_eq!(filters(&[strange], MANY), [] as [Document; 0]);
    }
}
