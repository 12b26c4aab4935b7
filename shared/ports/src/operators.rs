//! What operators need of a store beside [`TokenStore`]: the audit record, the processes that live,
//! statistics, and what may be done to one grant. Workers write here what operators read; no decision
//! about a grant depends on it.

use async_trait::async_trait;
use serde::Serialize;

use crate::{StoreError, TokenStore};
use evergrant_domain::audit::{AuditEntry, AuditFilter, Intent, Progress};
use evergrant_domain::heartbeat::Heartbeat;
use evergrant_domain::statistics::{Counts, MinuteCounts};
use evergrant_domain::{DocumentId, ProviderId, Status, Timestamp};

/// A store as operators need it. An `Arc<dyn OperatorStore>` is an `Arc<dyn TokenStore>` as well.
///
/// Every time here is the store's own clock, but [`Heartbeat::started_at`].
#[async_trait]
pub trait OperatorStore: TokenStore {
    /// Notes, durably, that an action begins, as the next entry of the chain. Call it before the action, so that one that dies leaves
    /// a trace.
    async fn begin_audit(&self, intent: Intent) -> Result<AuditEntry, StoreError>;

    /// Notes how far an action is, and that it is still under way or what came of it. Nothing if
    /// there is no such entry.
    async fn tell_audit(&self, id: &str, progress: &Progress) -> Result<(), StoreError>;

    /// Entries of the audit record, newest first.
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError>;

    /// Entries of the audit record by their number in the chain, from the one after `number` on, at most
    /// `limit`. Entries of a release without a chain are not among them.
    async fn audit_chain(&self, number: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// One entry of the audit record.
    async fn audit_entry(&self, id: &str) -> Result<Option<AuditEntry>, StoreError>;

    /// Notes that a process lives, in place of what it said before. Processes that have said nothing
    /// for a day are forgotten.
    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError>;

    /// A process ends: it is not listed any more.
    async fn end_beat(&self, name: &str) -> Result<(), StoreError>;

    /// The processes that live or have lately, by role and name.
    async fn processes(&self) -> Result<Vec<Heartbeat>, StoreError>;

    /// Adds to what happened at each provider in the present minute. What is older than
    /// [`evergrant_domain::statistics::KEPT_FOR`] is forgotten.
    async fn add_statistics(&self, counts: &[(ProviderId, Counts)]) -> Result<(), StoreError>;

    /// What happened in each minute from that of `since` on, by minute and provider. A minute in which
    /// nothing happened is not there.
    async fn statistics(&self, since: Timestamp) -> Result<Vec<MinuteCounts>, StoreError>;

    /// How many grants there are, by provider and status. It reads a whole index: ask seldom.
    async fn count_grants(&self) -> Result<Vec<GrantCount>, StoreError>;

    /// How many grants of a provider want a job now: active, due, and none under way. Counts up to
    /// `most`, so that the time it takes has a limit.
    async fn count_due(&self, provider: &ProviderId, most: u64) -> Result<u64, StoreError>;

    /// What status each of these grants is in, in order. None where the document is gone, or not adopted.
    async fn statuses(&self, ids: &[DocumentId]) -> Result<Vec<Option<Status>>, StoreError>;

    /// Does something to one grant.
    async fn change_grant(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<Changed, StoreError>;
}

/// How many grants of a provider are in a status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GrantCount {
    /// The provider. None where it is not adopted yet, or the name cannot be read.
    pub provider: Option<ProviderId>,
    /// The status. None where it is not adopted yet, or the status cannot be read.
    pub status: Option<Status>,
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
pub enum Changed {
    /// It is done.
    Applied,
    /// It cannot be done to a grant in this status: only active ones are paused, only paused ones
    /// resumed.
    NotIn(Option<Status>),
    /// Not now: a lease is held, or was not given back by a worker that died, and the answer of the
    /// provider would be lost without the state.
    UnderWay,
    /// Its new tokens wait in a dead letter or a journal. Without the state the old token would be sent, and
    /// they would be lost.
    WaitsForAnswer,
    /// There is no such document.
    Absent,
}
