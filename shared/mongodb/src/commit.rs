//! Outcomes of exchanges, written each on its condition (optimistic concurrency).
//!
//! A group of commits is one unordered `update` command, majority and journalled: a statement for
//! each, with the condition in its filter and constants in `$set` and `$unset`. Three things
//! tell what became of them, and each is true by MongoDB's documentation:
//!
//! * **`n`, the documents that the statements found.** A statement with an `_id` finds one document or
//!   none, and what it found it has written, so as many found as there are statements means that all
//!   are written. `nModified` is not asked: it depends on how a server compares the document before
//!   and after. In a sharded cluster a statement may find a document twice, where it is and where it
//!   was before it moved, so `n` is not believed there.
//! * **The documents**, where `n` is not enough or a server refused a statement: read by `majority`
//!   from the primary, so that nothing is taken for written that a failover could roll back, nor for
//!   overwritten by what one could. A commit whose claim is in `settled_by`, at its generation, is
//!   written. One whose condition still holds is tried again, and made to fit what was read ([`fit`]):
//!   another claim has taken the lease over, say. Of any other the document has moved on.
//! * **An error**, for all else: the connection was lost before the reply, the server stepped down, or
//!   it wrote and no majority said so in time (`writeConcernError`). Any of the commits may be written.
//!   The caller tries them again. A commit that took effect no longer fulfils its own condition (the
//!   token, the generation or the lease is another), so it is written once, and is found by
//!   `settled_by` the next time. One that a failover rolled back fulfils it again, and is written again.
//!
//! A refresh that a server refuses is tried again without the fields that the settings name beside the tokens,
//! and without the application's own expiry: a rule or an index of the application may be about them.
//!
//! `run_command` is not a retryable write of the driver, and need not be one for that reason. No
//! transaction is needed: each commit is of one document. One document that a validation rule or a
//! unique index rejects keeps nothing from the others of an unordered command.
//!
//! [`fit`]: super::fit

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReadConcern;

use super::MongoStore;
use super::errors::{driver, refused, unavailable};
use super::fit::{fit, value_at};
use super::transition::{compiled, in_filter};
use super::update::{DURABLE, JOURNALLED, Statement, batches};
use evergrant_document::condition::{condition, may_be_written, took_effect};
use evergrant_document::document_update::{DocumentUpdate, needs_document};
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::paths::{at, first};
use evergrant_document::{ids, transition};
use evergrant_domain::{DocumentId, DocumentWrite};
use evergrant_ports::{Commit, CommitResult, StoreError};

/// Whether this process has told that the application's fields are refused.
static HAS_TOLD_OF_REFUSED_FIELDS: AtomicBool = AtomicBool::new(false);

/// How often documents are read again while others change them.
const ROUNDS: u32 = 5;

/// What is known of the document of a commit.
#[derive(Clone, Copy)]
enum KnownDocument<'a> {
    /// Nothing: it comes by another way than a claim, and needs to know nothing.
    Nothing,
    /// What its claim has read of it. The claim has held it since, unless its lease has run out.
    Claimed(&'a Document),
    /// What has just been read of it.
    Read(&'a Document),
}

/// Which of the application's fields a refresh writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WrittenFields {
    All,
    /// After the server has refused them all.
    TokensAlone,
}

type Try<'a> = (&'a Commit, KnownDocument<'a>);

impl MongoStore {
    pub(super) async fn commit_all(
        &self,
        commits: &[Commit],
    ) -> Result<Vec<CommitResult>, StoreError> {
        let tries: Vec<Option<Try<'_>>> = commits.iter().map(first_try).collect();
        let known: Vec<Try<'_>> = tries.iter().flatten().copied().collect();
        let are_written = match self.write(&known, WrittenFields::All).await {
            Ok(are_written) => are_written,
            // What is refused may be taken once it fits its document.
            Err(StoreError::Refused { .. }) => false,
            Err(error) => return Err(error),
        };
        let applied = |tried: &Option<Try<'_>>| {
            (are_written && tried.is_some()).then_some(CommitResult::Applied)
        };
        let mut results: Vec<_> = tries.iter().map(applied).collect();
        if let Some(all) = results.iter().copied().collect() {
            return Ok(all);
        }
        for _ in 0..ROUNDS {
            let is_open = |result: &Option<CommitResult>| *result != Some(CommitResult::Applied);
            let asked = commits.iter().zip(&results).filter(|(_, result)| is_open(result));
            let asked: Vec<_> = asked.map(|(commit, _)| commit).collect();
            let found = self.read_back(&asked).await?;
            let mut open: Vec<Try<'_>> = Vec::new();
            for (commit, result) in commits.iter().zip(&mut results) {
                let document = found.get(&ids::canonical(&commit.id));
                match document {
                    _ if *result == Some(CommitResult::Applied) => {}
                    Some(document) if may_be_written(&self.names, document, commit) => {
                        *result = None;
                        open.push((commit, KnownDocument::Read(document)));
                    }
                    Some(document) if took_effect(&self.names, document, commit) => {
                        *result = Some(CommitResult::Applied);
                    }
                    _ => *result = Some(CommitResult::Superseded),
                }
            }
            if open.is_empty() || self.write_what_is_taken(&open).await? {
                let results =
                    results.into_iter().map(|result| result.unwrap_or(CommitResult::Applied));
                let results: Vec<_> = results.collect();
                self.release_superseded(commits, &results).await?;
                return Ok(results);
            }
        }
        Err(unavailable("commit", "others change the documents all the time"))
    }

    /// As [`Self::write`]. If a server refuses one, the tokens are written without what the settings name beside
    /// them: a rule or an index of the application may be about those fields, and tokens are worth more.
    async fn write_what_is_taken(&self, tries: &[Try<'_>]) -> Result<bool, StoreError> {
        let error = match self.write(tries, WrittenFields::All).await {
            Err(error @ StoreError::Refused { .. }) => error,
            result => return result,
        };
        let is_refresh = |commit: &Commit| matches!(commit.write, DocumentWrite::Refresh { .. });
        let refreshes = tries.iter().filter(|(commit, _)| is_refresh(commit)).copied();
        let refreshes: Vec<Try<'_>> = refreshes.collect();
        let Some((first, _)) = refreshes.first() else { return Err(error) };
        let are_written = self.write(&refreshes, WrittenFields::TokensAlone).await?;
        if !HAS_TOLD_OF_REFUSED_FIELDS.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                document = %first.id, %error,
                "the store refuses the fields that are written beside the tokens: the tokens are written \
                 alone; see store.also_write and store.expiry (told once)"
            );
        }
        // What is no refresh is asked about once more.
        Ok(are_written && refreshes.len() == tries.len())
    }

    /// Writes those whose condition holds, and says whether all are known to be written.
    ///
    /// # Errors
    /// If one could not be written. Others may be; all others are if it was refused.
    async fn write(&self, tries: &[Try<'_>], fields: WrittenFields) -> Result<bool, StoreError> {
        let statements = tries.iter().filter_map(|(commit, known)| {
            // Nothing can be written to an id that no document can have.
            let id = ids::to_bson(&commit.id)?;
            let statement = statement(&self.names, commit, id, *known, fields);
            Some(statement.ok_or_else(|| refused("commit", UNWRITABLE)))
        });
        let (mut matched, mut refusal) = (0, None);
        for batch in batches(statements.collect::<Result<_, _>>()?) {
            match self.update("commit", batch, JOURNALLED).await {
                Ok(of_batch) => matched += of_batch,
                Err(error @ StoreError::Refused { .. }) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        match refusal {
            Some(error) => Err(error),
            None => Ok(matched == tries.len() as u64 && !self.is_sharded("commit").await?),
        }
    }

    /// What tells whether commits are written, and what they have to fit.
    async fn read_back(
        &self,
        commits: &[&Commit],
    ) -> Result<HashMap<DocumentId, Document>, StoreError> {
        let wanted: Vec<_> = commits.iter().filter_map(|commit| ids::to_bson(&commit.id)).collect();
        let fields = &self.names.fields;
        let own = [&self.names.state, &fields.refresh_token, &fields.access_token];
        let also = commits.iter().flat_map(|commit| commit.write.also());
        let of_answer = self.names.answer_paths();
        let paths = own.into_iter().chain(self.names.expiry_paths()).chain(of_answer).chain(also);
        let projection: Document = paths.map(|path| (first(path).to_owned(), 1.into())).collect();
        let failed = |error| driver("commit", &error);
        let found = self.collection.find(doc! { "_id": { "$in": wanted } }).projection(projection);
        let found = found.read_concern(ReadConcern::majority()).await.map_err(failed)?;
        let found: Vec<Document> = found.try_collect().await.map_err(failed)?;
        let id = |found: &Document| ids::from_bson(found.get("_id").unwrap_or(&Bson::Null));
        Ok(found.into_iter().map(|found| (id(&found), found)).collect())
    }

    /// Gives the leases of documents back that have moved on.
    async fn release_superseded(
        &self,
        commits: &[Commit],
        results: &[CommitResult],
    ) -> Result<(), StoreError> {
        let superseded = commits.iter().zip(results);
        let superseded = superseded.filter(|(_, result)| **result == CommitResult::Superseded);
        let statements = superseded.filter_map(|(commit, _)| {
            let release = transition::release_superseded(&self.names, &commit.owner);
            compiled(ids::to_bson(&commit.id)?, &release)
        });
        for batch in batches(statements.collect()) {
            self.update("commit", batch, DURABLE).await?;
        }
        Ok(())
    }
}

const UNWRITABLE: &str =
    "one of the names in store.fields and store.state_field holds a NUL; change it";

/// A commit as it is tried before anything is read; None if it has to know its document.
fn first_try(commit: &Commit) -> Option<Try<'_>> {
    match commit.note.read() {
        Some(claimed) => Some((commit, KnownDocument::Claimed(claimed))),
        None => (!needs_document(&commit.write)).then_some((commit, KnownDocument::Nothing)),
    }
}

/// The update that makes a commit. None if it cannot be written as BSON.
///
/// A refresh writes the state as one value, in which a server has one way to go and not twenty-five. So its
/// condition is that nobody else has changed the state since it was read, but for what a refresh leaves
/// nothing of: while a claim holds the document, others change its status, mark jobs, and prolong the lease.
fn statement(
    names: &FieldPaths,
    commit: &Commit,
    id: Bson,
    known: KnownDocument<'_>,
    fields: WrittenFields,
) -> Option<Statement> {
    let mut filter = doc! { "_id": id };
    filter.extend(condition(names, commit).iter().filter_map(in_filter));
    let nothing = Document::new();
    let document = match known {
        KnownDocument::Nothing => &nothing,
        KnownDocument::Claimed(document) | KnownDocument::Read(document) => document,
    };
    let change = DocumentUpdate::from_commit(names, commit, document);
    if !matches!(commit.write, DocumentWrite::Refresh { .. }) {
        return Statement::new(filter, fit(change.operators(), document));
    }
    let change = match fields {
        WrittenFields::All => change,
        WrittenFields::TokensAlone => change.of_tokens_alone(),
    };
    // Where something of the application stands in the place of the state, the server is to refuse.
    let change = change.of_whole_state(document).unwrap_or_else(|| change.operators());
    if let KnownDocument::Read(_) = known {
        let state = value_at(document, &names.state).cloned().unwrap_or(Bson::Null);
        filter.insert(&names.state, doc! { "$eq": state });
        return Statement::new(filter, fit(change, document));
    }
    filter.insert(names.path("lease.owner"), &commit.owner);
    for part in ["status", "provider"] {
        let claimed = at(document, &names.path(part)).cloned().unwrap_or(Bson::Null);
        filter.insert(names.path(part), doc! { "$eq": claimed });
    }
    Statement::new(filter, change)
}
