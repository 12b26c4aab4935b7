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
    /// Lists grants, in the order of [`GrantFilter::order`].
    fn list(&self, filter: GrantFilter) -> BoxStream<'_, Result<GrantView, StoreError>>;

    /// One grant.
    async fn get(&self, id: &DocumentId) -> Result<Option<GrantView>, StoreError>;

    /// The status of each of these grants, in order. None if the document does not exist or is not
    /// adopted.
    async fn statuses(&self, ids: &[DocumentId]) -> Result<Vec<Option<GrantStatus>>, StoreError>;

    /// Counts grants by provider and status. It reads a whole index, so call it rarely.
    async fn count_grants(&self) -> Result<Vec<GrantCount>, StoreError>;

    /// How many grants of a provider need a job now: active, due, and without a job under way.
    /// Counts up to `most`, to limit its duration.
    async fn count_due(&self, provider: &ProviderId, most: u64) -> Result<u64, StoreError>;

    /// Makes an ended grant active and due, clears its failures, and notes that a job is under way
    /// for `queued`. Does nothing for a document that does not exist, is paused or was never
    /// adopted. An active grant is returned unchanged.
    async fn reactivate(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError>;

    /// Changes one grant.
    async fn change_grant(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<ChangeResult, StoreError>;
}

/// The number of a provider's grants with a status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GrantCount {
    /// The provider. None if the document is not adopted yet, or the name cannot be read.
    pub provider: Option<ProviderId>,
    /// The status. None if the document is not adopted yet, or the status cannot be read.
    pub status: Option<GrantStatus>,
    /// The number.
    pub count: u64,
}

/// An operator's change of one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantChange {
    /// Pauses an active grant until it is resumed: it is neither enumerated nor claimed. A refresh
    /// under way still writes its tokens, and the grant stays paused.
    Pause,
    /// Makes a paused grant active again, with its earlier due time.
    Resume,
    /// Removes Evergrant's state, and keeps the document. While the document exists, the next
    /// adoption treats it as if its user had just signed in.
    Forget,
}

/// The result of a [`GrantChange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeResult {
    /// It is done.
    Applied,
    /// Impossible in this status: only active grants are paused, and only paused ones resumed.
    NotIn(Option<GrantStatus>),
    /// Not now: a lease is held, or was not released by a worker that died, and the provider's
    /// answer would be lost without the state.
    UnderWay,
    /// Its new tokens are in a dead letter or a journal. Without the state, the old token would be
    /// sent, and they would be lost.
    WaitsForAnswer,
    /// There is no such document.
    Absent,
}
