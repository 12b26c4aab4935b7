//! Grants as operators see and change them.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::Serialize;

use crate::{DueGrant, GrantFilter, GrantView, StoreClock, StoreError};
use evergrant_domain::{DocumentId, GrantStatus, ProviderId};

/// Grants as operators list, count and change them.
#[async_trait]
pub trait GrantAdmin: StoreClock {
    /// What operators see of grants, in the order of [`GrantFilter::order`].
    fn list(&self, filter: GrantFilter) -> BoxStream<'_, Result<GrantView, StoreError>>;

    /// One grant as operators see it.
    async fn get(&self, id: &DocumentId) -> Result<Option<GrantView>, StoreError>;

    /// What status each of these grants is in, in order. None where the document is gone, or not adopted.
    async fn statuses(&self, ids: &[DocumentId]) -> Result<Vec<Option<GrantStatus>>, StoreError>;

    /// How many grants there are, by provider and status. It reads a whole index: ask seldom.
    async fn count_grants(&self) -> Result<Vec<GrantCount>, StoreError>;

    /// How many grants of a provider want a job now: active, due, and none under way. Counts up to
    /// `most`, so that the time it takes has a limit.
    async fn count_due(&self, provider: &ProviderId, most: u64) -> Result<u64, StoreError>;

    /// Makes a grant that has ended active and due, with its failures forgotten, and notes that a job
    /// is under way for `queued`. Nothing for a document that is gone, and for one that is paused or
    /// was never adopted. A grant that is active already is returned as it is.
    async fn reactivate(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError>;

    /// Does something to one grant.
    async fn change_grant(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<ChangeResult, StoreError>;
}

/// How many grants of a provider are in a status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GrantCount {
    /// The provider. None where it is not adopted yet, or the name cannot be read.
    pub provider: Option<ProviderId>,
    /// The status. None where it is not adopted yet, or the status cannot be read.
    pub status: Option<GrantStatus>,
    /// How many.
    pub count: u64,
}

/// What an operator does to one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantChange {
    /// An active grant is left alone until it is resumed: neither enumerated nor claimed. A refresh
    /// that is under way still writes its tokens, and the grant stays paused.
    Pause,
    /// A paused grant is active again, and due when it was due before.
    Resume,
    /// Evergrant's state is removed; the document stays. While the document is there, the next
    /// adoption takes it up as if its user had just signed in.
    Forget,
}

/// What became of a [`GrantChange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeResult {
    /// It is done.
    Applied,
    /// It cannot be done to a grant in this status: only active ones are paused, only paused ones
    /// resumed.
    NotIn(Option<GrantStatus>),
    /// Not now: a lease is held, or was not given back by a worker that died, and the answer of the
    /// provider would be lost without the state.
    UnderWay,
    /// Its new tokens wait in a dead letter or a journal. Without the state the old token would be sent, and
    /// they would be lost.
    WaitsForAnswer,
    /// There is no such document.
    Absent,
}
