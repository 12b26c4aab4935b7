//! The store's behaviour in a build that is broken on purpose.

use std::time::Duration;

use evergrant_domain::{ClaimedDocument, DocumentId, DocumentWrite, FailureKind, GrantStatus};
use evergrant_ports::{Commit, DueGrant, GrantAdmin, StoreError};
use futures::TryStreamExt;
use serde_json::json;

use super::Sabotage;
use super::world::World;

/// The duration of a lease, from the correct one.
pub(crate) fn broken_lease(sabotage: Option<Sabotage>, lease: Duration) -> Duration {
    if sabotage == Some(Sabotage::ShortLease) { lease / 12 } else { lease }
}

/// A claim's error.
pub(crate) fn broken_refusal(sabotage: Option<Sabotage>, error: StoreError) -> StoreError {
    match error {
        StoreError::Refused { operation, reason }
            if sabotage == Some(Sabotage::RefusedClaimRetried) =>
        {
            StoreError::Unavailable { operation, reason }
        }
        error => error,
    }
}

/// A claim's result.
pub(crate) fn broken_rows(
    sabotage: Option<Sabotage>,
    rows: Vec<ClaimedDocument>,
) -> Vec<ClaimedDocument> {
    let broken = |row| match (sabotage, row) {
        (Some(Sabotage::NoLease), ClaimedDocument::Present { grant, lease, .. }) => {
            ClaimedDocument::Present { grant, lease, owned: true }
        }
        (
            Some(Sabotage::TakeoverUnnoticed),
            ClaimedDocument::Present { grant, lease: Some(mut lease), owned },
        ) => {
            lease.taken_over = None;
            ClaimedDocument::Present { grant, lease: Some(lease), owned }
        }
        (_, row) => row,
    };
    rows.into_iter().map(broken).collect()
}

/// The commit as it is written. None if it is not.
pub(crate) fn broken_commit(
    sabotage: Option<Sabotage>,
    commit: &Commit,
    now: &ClaimedDocument,
) -> Option<Commit> {
    let mut commit = commit.clone();
    let ClaimedDocument::Present { grant, lease, .. } = now else { return Some(commit) };
    let is_end = matches!(commit.write, DocumentWrite::End { .. });
    let token = commit.sent.as_ref().map(|_| grant.refresh_token.clone());
    match (sabotage, &mut commit.write) {
        (Some(Sabotage::CommitNotWritten), _) => return None,
        (Some(Sabotage::UnconditionalCommit), _) => {
            commit.sent = token;
            commit.generation = Some(grant.generation);
            commit.owner = lease.as_ref().map_or(commit.owner, |lease| lease.owner.clone());
        }
        (Some(Sabotage::CommitWithoutGeneration), _) => {
            commit.generation = Some(grant.generation);
        }
        (Some(Sabotage::NoReread), _) if is_end => commit.sent = token,
        (
            Some(Sabotage::ThrottleBurns),
            DocumentWrite::Postpone { attempts, last_error: Some(error), .. },
        ) if error.reason == FailureKind::Throttled => *attempts += 1,
        (Some(Sabotage::DueAgainAtOnce), DocumentWrite::Refresh { refreshed_at, times, .. }) => {
            times.next_refresh_at = *refreshed_at;
        }
        _ => {}
    }
    Some(commit)
}

/// Whether a document counts as due.
pub(crate) fn broken_due(sabotage: Option<Sabotage>, due: &DueGrant) -> bool {
    let left_out = matches!(due.id, DocumentId::Integer(number) if number % 5 == 0);
    sabotage != Some(Sabotage::DueLeavesOut) || !left_out
}

impl World {
    /// Documents that are not adopted yet.
    pub(crate) async fn not_adopted(&self) -> Vec<DocumentId> {
        let all = self.store.list(Default::default()).try_collect::<Vec<_>>().await;
        let new = all.unwrap_or_default().into_iter().filter(|view| view.status.is_none());
        new.map(|view| view.id).collect()
    }

    /// Assigns documents to the default provider, whatever they name.
    pub(crate) fn give_to_default(&self, ids: &[DocumentId]) {
        let default = self.providers[0].id.as_str();
        for id in ids {
            // It is JSON, and the document exists.
            let _ = self.store.edit(id, "evergrant.provider", Some(json!(default)));
        }
    }

    /// Adopts adopted documents again.
    pub(crate) async fn start_over(&self) {
        for id in self.with(|state| state.users.keys().cloned().collect::<Vec<_>>()) {
            // It is JSON, and the document exists.
            let _ =
                self.store.edit(&id, "evergrant.generation", Some(json!({ "$numberLong": "0" })));
        }
    }

    /// Revives dead grants.
    pub(crate) async fn revive_all(&self) {
        let all = self.store.list(Default::default()).try_collect::<Vec<_>>().await;
        for view in all.unwrap_or_default() {
            if view.status == Some(GrantStatus::NeedsReauth) {
                // It exists.
                let _ = self.store.reactivate(&view.id, Duration::ZERO).await;
            }
        }
    }
}
