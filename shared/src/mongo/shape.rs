//! What the commits of one update have in common, and what each has of its own.

use mongodb::bson::raw::{CStr, cstr};
use mongodb::bson::{Bson, Document, doc};
use secrecy::ExposeSecret;

use super::change::{change, int, kept};
use super::names::Names;
use super::parts::Parts;
use crate::domain::{Status, Write};
use crate::ports::Commit;

/// The variable of expressions that is a document's row: the values that its commit has of its own.
pub(super) const ROW: &CStr = cstr!("row");

/// What is alike in the commits of one update.
#[derive(PartialEq, Eq)]
pub(super) struct Shape {
    /// What of the document must equal which value of its row.
    conditions: Vec<Condition>,
    /// A refresh leaves a pause as it is.
    is_refresh: bool,
    /// The paths that are written, in the order of a row's values. New fields come in alphabetical
    /// order, as in a classic update.
    written: Vec<(String, How)>,
    /// The paths that are taken away.
    unset: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// A server that compares ids in an array otherwise than in a filter finds another document's row.
    Id,
    Sent,
    Generation,
    Owner,
}

impl Condition {
    /// The name of its value in a row.
    fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Sent => "sent",
            Self::Generation => "generation",
            Self::Owner => "owner",
        }
    }

    /// An expression: what of the document must equal that value.
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

/// How a path is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// It becomes the row's value.
    Set,
    /// The row's values are added to the marks that are there.
    Push,
}

/// What must hold for a commit to be written: see [`Commit`].
fn conditions(commit: &Commit, id: &Bson) -> Vec<(Condition, Bson)> {
    let mut conditions = vec![(Condition::Id, id.clone())];
    if let Some(sent) = &commit.sent {
        conditions.push((Condition::Sent, sent.expose_secret().into()));
    }
    if let Some(generation) = commit.expected_generation() {
        conditions.push((Condition::Generation, int(generation).into()));
    }
    // New tokens need no lease: no others live.
    if !matches!(commit.write, Write::Refresh { .. }) || commit.sent.is_none() {
        conditions.push((Condition::Owner, commit.owner.as_str().into()));
    }
    conditions
}

impl Shape {
    /// The shape of a commit, and its row.
    pub(super) fn of(names: &Names, commit: &Commit, id: &Bson) -> (Self, Document) {
        let mut row = Document::new();
        let conditions = conditions(commit, id).into_iter().map(|(condition, value)| {
            row.insert(condition.name(), value);
            condition
        });
        let conditions = conditions.collect();
        let mut change = change(names, commit);
        let mut of = |operator| match change.remove(operator) {
            Some(Bson::Document(parts)) => parts.into_iter().collect(),
            _ => Vec::new(),
        };
        let (set, push, unset) = (of("$set"), of("$push"), of("$unset"));
        let set = set.into_iter().map(|(path, value)| (path, How::Set, value));
        let push = push.into_iter().map(|(path, pushed)| (path, How::Push, each(pushed)));
        let mut values: Vec<_> = set.chain(push).collect();
        values.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let written = values.into_iter().enumerate().map(|(place, (path, how, value))| {
            row.insert(name_of_value(place), value);
            (path, how)
        });
        let written = written.collect();
        let unset = unset.into_iter().map(|(path, _)| path).collect();
        let is_refresh = matches!(commit.write, Write::Refresh { .. });
        (Self { conditions, is_refresh, written, unset }, row)
    }

    /// An expression: the document as its row makes it, which is as it was if a condition does not hold.
    /// None if one of the paths lies within another.
    pub(super) fn written(self, names: &Names) -> Option<Document> {
        let of_row = |value: &str| format!("$${}.{value}", ROW.as_str());
        let conditions = self.conditions.into_iter().map(|condition| {
            doc! { "$eq": [condition.of_document(names), of_row(condition.name())] }
        });
        let conditions: Vec<_> = conditions.collect();
        let (mut parts, status) = (Parts::default(), names.path("status"));
        for (place, (path, how)) in self.written.iter().enumerate() {
            let mut value = Bson::from(of_row(&name_of_value(place)));
            if *how == How::Push {
                value = added(path, value).into();
            }
            if self.is_refresh && *path == status {
                let paused = Status::Paused.as_str();
                let is_paused = doc! { "$eq": [names.value("status"), paused] };
                value = doc! { "$cond": [is_paused, paused, value] }.into();
            }
            parts.set(path, value)?;
        }
        for path in &self.unset {
            parts.unset(path)?;
        }
        Some(doc! { "$cond": [{ "$and": conditions }, parts.of_document(), "$$ROOT"] })
    }
}

/// What a `$push` adds.
fn each(pushed: Bson) -> Bson {
    let each = match pushed {
        Bson::Document(mut pushed) => pushed.remove("$each"),
        _ => None,
    };
    each.unwrap_or_else(|| Bson::Array(Vec::new()))
}

/// An expression: the marks at `path`, and those of the row after them. What is no list is none.
fn added(path: &str, marks: Bson) -> Document {
    let there = format!("${path}");
    let there = doc! { "$cond": [{ "$isArray": [&there] }, &there, []] };
    doc! { "$slice": [{ "$concatArrays": [there, marks] }, kept()] }
}

/// The name in a row of the value for the path at this place.
fn name_of_value(place: usize) -> String {
    format!("v{place}")
}
