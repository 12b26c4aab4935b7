//! What processes and operators write down for operators to read. No decision about a grant depends on it.

use async_trait::async_trait;

use crate::{StoreClock, StoreError};
use evergrant_domain::audit::{ActionIntent, ActionProgress, AuditEntry, AuditFilter};
use evergrant_domain::heartbeat::Heartbeat;
use evergrant_domain::statistics::{MinuteCounts, ProviderCounts};
use evergrant_domain::{ProviderId, Timestamp};

/// The audit record, the processes that live, and statistics.
///
/// Every time here is the store's own clock, but [`Heartbeat::started_at`].
#[async_trait]
pub trait OperationsLog: StoreClock {
    /// Notes, durably, that an action begins, as the next entry of the chain. Call it before the action, so that one that dies leaves
    /// a trace.
    async fn begin_audit(&self, intent: ActionIntent) -> Result<AuditEntry, StoreError>;

    /// Notes how far an action is, and that it is still under way or what came of it. Nothing if
    /// there is no such entry.
    async fn tell_audit(&self, id: &str, progress: &ActionProgress) -> Result<(), StoreError>;

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
    /// [`evergrant_domain::statistics::STATISTICS_TTL`] is forgotten.
    async fn add_statistics(
        &self,
        counts: &[(ProviderId, ProviderCounts)],
    ) -> Result<(), StoreError>;

    /// What happened in each minute from that of `since` on, by minute and provider. A minute in which
    /// nothing happened is not there.
    async fn statistics(&self, since: Timestamp) -> Result<Vec<MinuteCounts>, StoreError>;
}
