//! Which grants want a job: what the producer does to token documents.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{StoreClock, StoreError, UnadoptedDocuments};
use evergrant_domain::{DocumentId, GrantStatus, ProviderId, Timestamp};

/// Token documents as the producer enumerates them: adopted, due, marked as queued, and taken up again
/// when their user has signed in.
#[async_trait]
pub trait DueStore: StoreClock {
    /// Gives Evergrant's state to every document that has none and is a provider's of ours
    /// (the rules of adoption say which): active and due, or [`GrantStatus::NoToken`] if it holds no refresh token.
    /// Returns how many. The others are left alone.
    async fn adopt(&self) -> Result<u64, StoreError>;

    /// Counts the documents that [`Self::adopt`] leaves alone, by the reason.
    async fn unadopted(&self) -> Result<Vec<UnadoptedDocuments>, StoreError>;

    /// The grants that want a job, soonest due first. Memory does not grow with their number.
    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>>;

    /// Notes that a job for each of `ids` that is still due is under way, so that [`Self::due`]
    /// leaves them out for the duration. One that a worker has settled meanwhile is left alone.
    async fn mark_queued(&self, ids: &[DocumentId], duration: Duration) -> Result<(), StoreError>;

    /// Makes active and due every grant that has ended and whose document holds another refresh
    /// token than the one that ended, or was repaired
    /// ([`evergrant_domain::EndedDocument::lives_again`]). Looks at `most` documents after a place, or
    /// from the beginning.
    async fn revive_signed_in(
        &self,
        after: Option<SweepPlace>,
        most: u32,
    ) -> Result<SweepResult, StoreError>;
}

/// Which grants want a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueQuery {
    /// Of this provider.
    pub provider: ProviderId,
    /// Which of its active grants.
    pub which: DueSelection,
    /// Only those due at this time or later: where an earlier reading ended.
    pub from: Option<Timestamp>,
}

/// Which active grants want a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueSelection {
    /// Those that are due by the schedule and have no job under way.
    Due,
    /// All of them.
    All,
    /// Those of one user, by the application's user id.
    User(String),
}

/// A grant that wants a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueGrant {
    /// The document.
    pub id: DocumentId,
    /// Its provider.
    pub provider: ProviderId,
    /// Its generation.
    pub generation: u64,
    /// When it is due.
    pub next_refresh_at: Timestamp,
}

/// How far a sweep has come: it goes through the statuses of [`SweepPlace::ENDED`], one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepPlace {
    /// Among the documents of this status.
    pub status: GrantStatus,
    /// The last document that it looked at. None before the first.
    pub id: Option<DocumentId>,
}

impl SweepPlace {
    /// The statuses of grants that can be taken up again by themselves.
    pub const ENDED: [GrantStatus; 3] =
        [GrantStatus::NeedsReauth, GrantStatus::Failed, GrantStatus::NoToken];

    /// Where a sweep begins.
    pub const fn beginning() -> Self {
        Self { status: Self::ENDED[0], id: None }
    }

    /// The place after `looked_at` documents of at most `most`, of which `last` was the last. None at
    /// the end of the sweep.
    pub fn next(&self, looked_at: usize, most: u32, last: Option<DocumentId>) -> Option<Self> {
        if looked_at as u64 >= u64::from(most) && last.is_some() {
            return Some(Self { status: self.status, id: last });
        }
        let place = Self::ENDED.iter().position(|status| *status == self.status)?;
        Self::ENDED.get(place + 1).map(|status| Self { status: *status, id: None })
    }
}

/// What a part of a sweep did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepResult {
    /// Grants that are active again.
    pub revived: u64,
    /// Where to go on. None at the end: the next sweep begins anew.
    pub next: Option<SweepPlace>,
}
