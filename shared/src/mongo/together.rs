//! Commits written together: one update of many documents.
//!
//! A server takes its locks, and plans, for each update. So commits that change the same parts of
//! their documents are one update, which has a table of what to write:
//!
//! ```text
//! filter  { _id: { $in: ids } }
//! update  { $replaceWith: { $let: {
//!             vars: { write: <the row of this document's _id> },
//!             in: { $cond: [<the row's condition>, <the document with the row's values>, "$$ROOT"] },
//!         } } }
//! ```
//!
//! The condition is in the update for the reason that `clock` gives. A document for which it does not
//! hold is replaced by itself, and a server does not count that among what it modified. Whatever comes
//! from outside is in a `$literal`, or a token that begins with `$` would be the name of a field.

use mongodb::bson::{Bson, Document, RawArrayBuf, RawBson, RawDocumentBuf, doc, rawdoc};
use secrecy::ExposeSecret;

use super::change::{change, int};
use super::ids;
use super::names::Names;
use super::parts::Parts;
use super::update::Statement;
use crate::domain::{Status, Write};
use crate::ports::Commit;

/// Documents of one update. The server may look through the whole table for each of them.
pub(super) const MANY: usize = 32;
/// How large a table becomes before another one is begun: a command takes 16 MiB.
const MAX_TABLE_BYTES: usize = 1024 * 1024;

/// The updates that make these commits, each of `most` documents at most. None if one cannot be written
/// as BSON: a field's name holds a NUL.
pub(super) fn statements(
    names: &Names,
    commits: &[&Commit],
    most: usize,
) -> Option<Vec<Statement>> {
    let mut tables: Vec<Table> = Vec::new();
    for commit in commits {
        // Nothing can be written to an id that no document can have.
        let Some(id) = ids::to_bson(&commit.id) else { continue };
        let (shape, row) = shape_and_row(names, commit, &id);
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

/// What is alike in the commits of one update.
#[derive(PartialEq, Eq)]
struct Shape {
    /// What of the document must equal which part of its row.
    conditions: Vec<Condition>,
    /// A refresh leaves a pause as it is.
    is_refresh: bool,
    /// The paths that are set, in the order of a row's values. New fields come in alphabetical order,
    /// as in a classic update.
    set: Vec<String>,
    /// The paths that are taken away.
    unset: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// The server may find another row, the last, if it compares ids otherwise than in its filter.
    Id,
    Sent,
    Generation,
    Owner,
}

impl Condition {
    /// Its part of a row.
    fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Sent => "sent",
            Self::Generation => "generation",
            Self::Owner => "owner",
        }
    }

    /// What must equal that.
    fn of_document(self, names: &Names) -> Bson {
        match self {
            Self::Id => "$_id".into(),
            Self::Sent => format!("${}", names.fields.refresh_token).into(),
            // A document that has never been refreshed need not say so.
            Self::Generation => doc! { "$ifNull": [names.value("generation"), 0_i64] }.into(),
            Self::Owner => names.value("lease.owner").into(),
        }
    }
}

/// What must hold of a document for its commit to be written (see [`Commit`]), and what is written.
fn shape_and_row(names: &Names, commit: &Commit, id: &Bson) -> (Shape, Document) {
    let is_refresh = matches!(commit.write, Write::Refresh { .. });
    let mut conditions = vec![(Condition::Id, id.clone())];
    if let Some(sent) = &commit.sent {
        conditions.push((Condition::Sent, sent.expose_secret().into()));
    }
    if let Some(generation) = commit.expected_generation() {
        conditions.push((Condition::Generation, int(generation).into()));
    }
    // New tokens need no lease: no others live.
    if !is_refresh || commit.sent.is_none() {
        conditions.push((Condition::Owner, commit.owner.as_str().into()));
    }
    let mut row = Document::new();
    let conditions = conditions.into_iter().map(|(condition, value)| {
        row.insert(condition.name(), value);
        condition
    });
    let conditions = conditions.collect();
    let mut change = change(names, commit);
    let mut of = |operator| match change.remove(operator) {
        Some(Bson::Document(parts)) => parts.into_iter().collect(),
        _ => Vec::new(),
    };
    let (mut values, unset) = (of("$set"), of("$unset"));
    values.sort_by(|(one, _), (other, _)| one.cmp(other));
    let set = values.into_iter().enumerate().map(|(place, (path, value))| {
        row.insert(name_of_value(place), value);
        path
    });
    let set = set.collect();
    let unset = unset.into_iter().map(|(path, _)| path).collect();
    (Shape { conditions, is_refresh, set, unset }, row)
}

/// A value's part of a row.
fn name_of_value(place: usize) -> String {
    format!("v{place}")
}

impl Shape {
    /// An expression: the document as its row, in the variable `write`, makes it.
    fn written(self, names: &Names) -> Document {
        let of_row = |part: &str| format!("$$write.{part}");
        let conditions = self.conditions.into_iter().map(|condition| {
            doc! { "$eq": [condition.of_document(names), of_row(condition.name())] }
        });
        let conditions: Vec<_> = conditions.collect();
        let (mut parts, status) = (Parts::default(), names.path("status"));
        for (place, path) in self.set.iter().enumerate() {
            let mut value = Bson::from(of_row(&name_of_value(place)));
            if self.is_refresh && *path == status {
                let paused = Status::Paused.as_str();
                let is_paused = doc! { "$eq": [names.value("status"), paused] };
                value = doc! { "$cond": [is_paused, paused, value] }.into();
            }
            parts.set(path, value);
        }
        for path in &self.unset {
            parts.unset(path);
        }
        doc! { "$cond": [{ "$and": conditions }, parts.of_document(), "$$ROOT"] }
    }
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
        let written = RawDocumentBuf::try_from(&self.shape.written(names)).ok()?;
        let one = match (self.ids.as_slice(), self.rows.as_slice()) {
            ([id], [row]) => Some((id.clone(), row.clone())),
            _ => None,
        };
        let (filter, row, multi) = match one {
            // Not by `$in`: a cluster finds the shard of one `_id`.
            Some((id, row)) => (rawdoc! { "_id": id }, rawdoc! { "$literal": row }, false),
            None => {
                let (ids, rows) =
                    (RawArrayBuf::from_iter(self.ids), RawArrayBuf::from_iter(self.rows));
                let place = rawdoc! { "$indexOfArray": [{ "$literal": ids.clone() }, "$_id"] };
                let row = rawdoc! { "$arrayElemAt": [{ "$literal": rows }, place] };
                (rawdoc! { "_id": { "$in": ids } }, row, true)
            }
        };
        let written = rawdoc! { "$let": { "vars": { "write": row }, "in": written } };
        Some(Statement::replace(filter, written, multi))
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::RawDocument;

    use super::*;
    use crate::domain::{DocumentId, Timestamp};

    fn commit(id: i64, write: Write) -> Commit {
        let (id, owner) = (DocumentId::Integer(id), "o".to_owned());
        Commit { id, owner, generation: Some(1), sent: Some("$sent".into()), write }
    }

    fn postponed(queued: bool) -> Write {
        Write::Postpone {
            attempts: 1,
            in_doubt: false,
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
