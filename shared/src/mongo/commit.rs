//! Outcomes of exchanges, written each on its condition.
//!
//! A batch is one command, and the command's reply tells how many of its updates found their
//! document, but not which. If all did, that is the answer. If not, the documents are read: each
//! settlement leaves the claim's owner in `settled_by`, so a commit is there if its owner is. That
//! also tells, when a commit is tried again after its answer was lost, that it took effect before.

use std::collections::HashMap;

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use secrecy::ExposeSecret;

use super::errors::{driver, refused};
use super::names::{Names, at};
use super::update::{DURABLE, JOURNALLED, Statement, batches};
use super::{MongoStore, ids};
use crate::domain::grant::fingerprint;
use crate::domain::{LastError, Status, Timestamp, Write};
use crate::ports::{Commit, Committed, StoreError};

/// New tokens make a grant active, unless an operator has paused it while they were fetched. A
/// classic update cannot tell, so they are written in two tries: one that leaves out what is paused,
/// and for what it did not find another one that leaves the status as it is.
#[derive(Clone, Copy)]
enum Paused {
    /// The first try.
    NotYet,
    /// The second one.
    Meanwhile,
}

/// The claim that settled a document last.
pub(crate) const SETTLED_BY: &str = "settled_by";

impl MongoStore {
    pub(super) async fn commit_all(
        &self,
        commits: &[Commit],
    ) -> Result<Vec<Committed>, StoreError> {
        let total = commits.len() as u64;
        let all: Vec<_> = commits.iter().collect();
        if self.write_all(&all, Paused::NotYet).await? == total {
            return Ok(vec![Committed::Applied; commits.len()]);
        }
        let mut settled = self.settled(commits).await?;
        let unwritten = |commit: &&Commit| {
            matches!(commit.write, Write::Refresh { .. })
                && settled.result(commit) == Committed::Superseded
        };
        let unwritten: Vec<_> = commits.iter().filter(unwritten).collect();
        if !unwritten.is_empty() && self.write_all(&unwritten, Paused::Meanwhile).await? > 0 {
            settled = self.settled(commits).await?;
        }
        let results: Vec<_> = commits.iter().map(|commit| settled.result(commit)).collect();
        self.give_back_superseded(commits, &results).await?;
        Ok(results)
    }

    /// Writes those whose condition holds, and says how many did.
    async fn write_all(&self, commits: &[&Commit], paused: Paused) -> Result<u64, StoreError> {
        let mut statements = Vec::with_capacity(commits.len());
        for commit in commits {
            // Nothing can be written to an id that no document can have. It does not count as
            // written.
            let Some(id) = ids::to_bson(&commit.id) else { continue };
            let (mut condition, change) = (self.condition(id, commit), change(&self.names, commit));
            let is_refresh = matches!(commit.write, Write::Refresh { .. });
            let change = match paused {
                Paused::NotYet if is_refresh => {
                    condition.insert(self.names.path("status"), not_paused());
                    change
                }
                Paused::NotYet => change,
                Paused::Meanwhile => but_paused(&self.names, change),
            };
            let statement = Statement::new(condition, change, false)
                .ok_or_else(|| refused("commit", "a field's name cannot be written as BSON"))?;
            statements.push(statement);
        }
        let mut matched = 0;
        for batch in batches(statements) {
            matched += self.update("commit", batch, JOURNALLED).await?.matched;
        }
        Ok(matched)
    }

    /// What must hold for a commit to be written: see [`Commit`].
    fn condition(&self, id: Bson, commit: &Commit) -> Document {
        let mut condition = doc! { "_id": id };
        if let Some(sent) = &commit.sent {
            condition.insert(&self.names.fields.refresh_token, sent.expose_secret());
        }
        if let Some(generation) = commit.expected_generation() {
            let generation = match generation {
                // A document that has never been refreshed need not say so.
                0 => doc! { "$in": [0_i64, null] },
                generation => doc! { "$eq": int(generation) },
            };
            condition.insert(self.names.path("generation"), generation);
        }
        if !matches!(commit.write, Write::Refresh { .. }) || commit.sent.is_none() {
            condition.insert(self.names.path("lease.owner"), &commit.owner);
        }
        condition
    }

    async fn settled(&self, commits: &[Commit]) -> Result<Settled, StoreError> {
        let wanted: Vec<_> = commits.iter().filter_map(|commit| ids::to_bson(&commit.id)).collect();
        let (owner, generation) = (self.names.path(SETTLED_BY), self.names.path("generation"));
        let failed = |error| driver("commit", &error);
        let projection = doc! { &owner: 1, &generation: 1 };
        let found = self.collection.find(doc! { "_id": { "$in": wanted } }).projection(projection);
        let mut found = found.await.map_err(failed)?;
        let mut by_id = HashMap::new();
        while let Some(document) = found.try_next().await.map_err(failed)? {
            let id = ids::from_bson(document.get("_id").unwrap_or(&Bson::Null));
            let owner = at(&document, &owner).and_then(Bson::as_str).map(str::to_owned);
            let generation = at(&document, &generation).and_then(super::numbers::number);
            by_id.insert(id, (owner, generation.and_then(|number| u64::try_from(number).ok())));
        }
        Ok(Settled(by_id))
    }

    /// A document that has moved on is of no more use to the claim, so its lease is given back. Nor is
    /// a job for it under way any more: a user who has signed in again is not to wait until one was.
    async fn give_back_superseded(
        &self,
        commits: &[Commit],
        results: &[Committed],
    ) -> Result<(), StoreError> {
        let (lease, queued_until) = (self.names.path("lease"), self.names.path("queued_until"));
        let give_back = doc! { "$unset": { lease: "", queued_until: "" } };
        let superseded = commits.iter().zip(results);
        let superseded = superseded.filter(|(_, result)| **result == Committed::Superseded);
        let statements = superseded.filter_map(|(commit, _)| {
            let held =
                doc! { "_id": ids::to_bson(&commit.id)?, self.names.path("lease.owner"): &commit.owner };
            Statement::new(held, give_back.clone(), false)
        });
        for batch in batches(statements.collect()) {
            self.update("commit", batch, DURABLE).await?;
        }
        Ok(())
    }
}

/// Every status but the operator's pause. Not by `$ne`, and without null: for either a server may look
/// through an index of statuses instead of taking the document by its `_id`.
fn not_paused() -> Document {
    let statuses = Status::ALL.into_iter().filter(|status| *status != Status::Paused);
    doc! { "$in": statuses.map(Status::as_str).collect::<Vec<_>>() }
}

/// What a commit makes of its document: the operators `$set` and `$unset`.
///
/// A classic update, not a pipeline: in a pipeline, a token that begins with `$` would be the
/// name of a field.
pub(crate) fn change(names: &Names, commit: &Commit) -> Document {
    let mut change = Change::new(names, &commit.owner);
    match &commit.write {
        Write::Refresh { access_token, refresh_token, refreshed_at, times } => {
            change.token(&names.fields.access_token, access_token);
            if let Some(refresh_token) = refresh_token {
                change.token(&names.fields.refresh_token, refresh_token);
            }
            // A new token is proof that the grant lives, whatever was thought of it meanwhile.
            change.set("status", "active");
            change.set("generation", int(commit.generation.unwrap_or_default() + 1));
            change.set("attempts", 0);
            change.time("refreshed_at", Some(*refreshed_at));
            change.time("access_expires_at", Some(times.access_expires_at));
            change.time("refresh_idle_until", times.refresh_idle_until);
            change.time("refresh_absolute_until", times.refresh_absolute_until);
            change.time("next_refresh_at", Some(times.next_refresh_at));
            for part in ["last_error", "failing_since", "in_doubt", "dead_fingerprint"] {
                change.unset(part);
            }
            change.unset("queued_until");
        }
        Write::Postpone {
            attempts,
            in_doubt,
            failing_since,
            last_error,
            next_refresh_at,
            queued_until,
        } => {
            change.set("attempts", i64::from(*attempts));
            match commit.sent.as_ref().filter(|_| *in_doubt) {
                // Of this token: what the user brings later is not in doubt.
                Some(sent) => change.set("in_doubt", fingerprint(sent)),
                None => change.unset("in_doubt"),
            }
            change.time("failing_since", *failing_since);
            if let Some(last_error) = last_error {
                change.set("last_error", error_document(last_error));
            }
            if let Some(next_refresh_at) = next_refresh_at {
                change.time("next_refresh_at", Some(*next_refresh_at));
            }
            change.time("queued_until", Some(*queued_until));
        }
        Write::End { status, attempts, failing_since, last_error, dead_fingerprint } => {
            change.set("status", status.as_str());
            change.set("attempts", i64::from(*attempts));
            change.time("failing_since", Some(*failing_since));
            change.set("last_error", error_document(last_error));
            match dead_fingerprint {
                Some(fingerprint) => change.set("dead_fingerprint", fingerprint.as_str()),
                None => change.unset("dead_fingerprint"),
            }
            change.unset("queued_until");
        }
    }
    change.into_document()
}

/// The same change of a document that an operator has paused meanwhile: its tokens are written, and it
/// stays paused.
pub(crate) fn but_paused(names: &Names, mut change: Document) -> Document {
    if let Ok(set) = change.get_document_mut("$set") {
        set.remove(names.path("status"));
    }
    change
}

/// By which claim each document was settled last, and its generation.
struct Settled(HashMap<crate::domain::DocumentId, (Option<String>, Option<u64>)>);

impl Settled {
    fn result(&self, commit: &Commit) -> Committed {
        let found = self.0.get(&ids::canonical(&commit.id));
        let ours = found
            .is_some_and(|(owner, generation)| took_effect(commit, owner.as_deref(), *generation));
        if ours { Committed::Applied } else { Committed::Superseded }
    }
}

/// Whether a commit has taken effect before, given by which claim its document was settled last, and
/// its generation.
pub(crate) fn took_effect(commit: &Commit, owner: Option<&str>, generation: Option<u64>) -> bool {
    let written = match (&commit.write, commit.generation) {
        (_, None) => true,
        (Write::Refresh { .. }, Some(claimed)) => generation == Some(claimed + 1),
        (_, Some(claimed)) => generation.unwrap_or_default() == claimed,
    };
    owner == Some(commit.owner.as_str()) && written
}

/// The two halves of a classic update of the state.
struct Change<'a> {
    names: &'a Names,
    set: Document,
    unset: Document,
}

impl<'a> Change<'a> {
    /// Every settlement gives the lease back and says whose it was.
    fn new(names: &'a Names, owner: &str) -> Self {
        let mut change = Self { names, set: Document::new(), unset: Document::new() };
        change.set(SETTLED_BY, owner);
        change.unset("lease");
        change
    }

    fn token(&mut self, field: &str, token: &secrecy::SecretString) {
        self.set.insert(field, token.expose_secret());
    }

    fn set(&mut self, part: &str, value: impl Into<Bson>) {
        self.set.insert(self.names.path(part), value);
    }

    fn unset(&mut self, part: &str) {
        self.unset.insert(self.names.path(part), "");
    }

    fn time(&mut self, part: &str, time: Option<Timestamp>) {
        match time {
            Some(time) => self.set(part, date(time)),
            None => self.unset(part),
        }
    }

    fn into_document(self) -> Document {
        doc! { "$set": self.set, "$unset": self.unset }
    }
}

/// A time as BSON has it.
pub(crate) fn date(time: Timestamp) -> mongodb::bson::DateTime {
    mongodb::bson::DateTime::from_millis(time.unix_ms())
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn error_document(error: &LastError) -> Document {
    let mut document = doc! { "reason": error.reason.as_str() };
    if let Some(status) = error.http_status {
        document.insert("http_status", i32::from(status));
    }
    if let Some(code) = &error.code {
        document.insert("code", code);
    }
    if let Some(description) = &error.description {
        document.insert("description", description);
    }
    document.insert("at", date(error.at));
    document
}
