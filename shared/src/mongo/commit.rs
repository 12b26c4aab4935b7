//! Outcomes of exchanges, written each on its condition.
//!
//! The server tells how many documents a command modified, but not which. If all, that is the
//! answer. If not, the documents are read: each settlement leaves the claim's owner in `settled_by`,
//! so a commit is there if its owner is. That also tells, when a commit is tried again after its
//! answer was lost, that it took effect before. What is not there is tried once more, each for
//! itself, before it is taken to be superseded.

use std::collections::HashMap;

use futures::TryStreamExt;
use mongodb::bson::{Bson, doc};

use super::change::SETTLED_BY;
use super::errors::{driver, refused};
use super::names::at;
use super::together::{self, MANY};
use super::update::{DURABLE, JOURNALLED, Statement, batches};
use super::{MongoStore, ids};
use crate::domain::Write;
use crate::ports::{Commit, Committed, StoreError};

impl MongoStore {
    pub(super) async fn commit_all(
        &self,
        commits: &[Commit],
    ) -> Result<Vec<Committed>, StoreError> {
        let all: Vec<_> = commits.iter().collect();
        // In a cluster, an update of many can miss a document that moves to another shard, or meet
        // what such a move has left behind.
        let together = if self.is_sharded("commit").await? { 1 } else { MANY };
        match self.write_all(&all, together).await {
            Ok(written) if written == commits.len() as u64 => {
                return Ok(vec![Committed::Applied; commits.len()]);
            }
            // What refuses one document keeps it from others of its update.
            Ok(_) | Err(StoreError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut settled = self.settled(commits).await?;
        let unwritten = |commit: &&Commit| settled.result(commit) == Committed::Superseded;
        let unwritten: Vec<_> = commits.iter().filter(unwritten).collect();
        if self.write_all(&unwritten, 1).await? > 0 {
            settled = self.settled(commits).await?;
        }
        let results: Vec<_> = commits.iter().map(|commit| settled.result(commit)).collect();
        self.give_back_superseded(commits, &results).await?;
        Ok(results)
    }

    /// Writes those whose condition holds, and says how many did.
    async fn write_all(&self, commits: &[&Commit], together: usize) -> Result<u64, StoreError> {
        let statements = together::statements(&self.names, commits, together)
            .ok_or_else(|| refused("commit", UNWRITABLE))?;
        let mut written = 0;
        for batch in batches(statements) {
            written += self.update("commit", batch, JOURNALLED).await?.modified;
        }
        Ok(written)
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
            Statement::new(held, give_back.clone())
        });
        for batch in batches(statements.collect()) {
            self.update("commit", batch, DURABLE).await?;
        }
        Ok(())
    }
}

const UNWRITABLE: &str = "of the names in store.fields and store.state_field, one holds a NUL or lies \
                          within another; change it";

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
