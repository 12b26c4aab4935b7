//! Which grants need a job: the producer's view of token documents.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{StoreClock, StoreError, UnadoptedDocuments};
use evergrant_domain::{DocumentId, GrantStatus, ProviderId, Timestamp};

/// Token documents as the producer sees them: adopted, due, marked as queued, and revived when
/// their user has signed in.
#[async_trait]
pub trait DueStore: StoreClock {
    /// Adds Evergrant's state to every document that has none and belongs to a configured provider,
    /// by the rules of adoption: active and due, or [`GrantStatus::NoToken`] if it holds no refresh
    /// token. Other documents stay unchanged. Returns how many were adopted.
    async fn adopt(&self) -> Result<u64, StoreError>;

    /// Counts the documents that [`Self::adopt`] does not adopt, by reason.
    async fn unadopted(&self) -> Result<Vec<UnadoptedDocuments>, StoreError>;

    /// The grants that need a job, soonest due first. Memory does not grow with their number.
    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>>;

    /// Notes that a job is under way for each of `ids` that is still due, so that [`Self::due`]
    /// omits them for the duration. A document that a worker has settled meanwhile stays unchanged.
    async fn mark_queued(&self, ids: &[DocumentId], duration: Duration) -> Result<(), StoreError>;

    /// Makes active and due every ended grant whose document holds another refresh token than the
    /// one that ended, or was repaired ([`evergrant_domain::EndedDocument::lives_again`]). Reads
    /// `most` documents after a place, or from the beginning.
    async fn revive_signed_in(
        &self,
        after: Option<SweepPlace>,
        most: u32,
    ) -> Result<SweepResult, StoreError>;
}

/// Which grants need a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueQuery {
    /// Of this provider.
    pub provider: ProviderId,
    /// Which of its active grants.
    pub which: DueSelection,
    /// Only those due at this time or later, to continue an earlier reading.
    pub from: Option<Timestamp>,
}

/// Which active grants need a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueSelection {
    /// Grants that are due by the schedule and have no job under way.
    Due,
    /// All grants.
    All,
    /// The grants of one user, by the application's user id.
    User(String),
}

/// A grant that needs a job.
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

/// The progress of a sweep, which reads the documents of each status in [`SweepPlace::ENDED`] in
/// turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepPlace {
    /// The status of the documents that it reads.
    pub status: GrantStatus,
    /// The last document that it has read. None before the first.
    pub id: Option<DocumentId>,
}

impl SweepPlace {
    /// The statuses of grants that can be revived automatically.
    pub const ENDED: [GrantStatus; 3] =
        [GrantStatus::NeedsReauth, GrantStatus::Failed, GrantStatus::NoToken];

    /// The beginning of a sweep.
    pub const fn beginning() -> Self {
        Self { status: Self::ENDED[0], id: None }
    }

    /// The place after `looked_at` documents of at most `most`, of which `last` was the last. None
    /// at the end of the sweep.
    pub fn next(&self, looked_at: usize, most: u32, last: Option<DocumentId>) -> Option<Self> {
        if looked_at as u64 >= u64::from(most) && last.is_some() {
            return Some(Self { status: self.status, id: last });
        }
        let place = Self::ENDED.iter().position(|status| *status == self.status)?;
        Self::ENDED.get(place + 1).map(|status| Self { status: *status, id: None })
    }
}

/// The result of a part of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepResult {
    /// Grants that are active again.
    pub revived: u64,
    /// Where to continue. None at the end: the next sweep starts from the beginning.
    pub next: Option<SweepPlace>,
}
