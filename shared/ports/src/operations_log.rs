//! Records of processes and operators, for operators to read. No decision about a grant depends on
//! them.

use async_trait::async_trait;

use crate::{StoreClock, StoreError};
use evergrant_domain::audit::{ActionIntent, ActionProgress, AuditEntry, AuditFilter};
use evergrant_domain::heartbeat::Heartbeat;
use evergrant_domain::statistics::{MinuteCounts, ProviderCounts};
use evergrant_domain::{ProviderId, Timestamp};

/// The audit record, the list of processes, and statistics.
///
/// All times are by the store's clock, except [`Heartbeat::started_at`].
#[async_trait]
pub trait OperationsLog: StoreClock {
    /// Records durably that an action begins, as the next entry of the chain. Call it before the
    /// action, so that an action that dies leaves a trace.
    async fn begin_audit(&self, intent: ActionIntent) -> Result<AuditEntry, StoreError>;

    /// Records the progress of an action, and its outcome if it has ended. Does nothing if there is
    /// no such entry.
    async fn tell_audit(&self, id: &str, progress: &ActionProgress) -> Result<(), StoreError>;

    /// Entries of the audit record, newest first.
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError>;

    /// Entries of the audit record by their number in the chain, after `number`, at most `limit`.
    /// Entries of a release without a chain are not included.
    async fn audit_chain(&self, number: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// One entry of the audit record.
    async fn audit_entry(&self, id: &str) -> Result<Option<AuditEntry>, StoreError>;

    /// Records a heartbeat, replacing the previous one. Processes without one for a day are
    /// removed.
    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError>;

    /// Removes a process that ends.
    async fn end_beat(&self, name: &str) -> Result<(), StoreError>;

    /// The running and recently seen processes, by role and name.
    async fn processes(&self) -> Result<Vec<Heartbeat>, StoreError>;

    /// Adds to the counts of each provider in the present minute. Counts older than
    /// [`evergrant_domain::statistics::STATISTICS_TTL`] are removed.
    async fn add_statistics(
        &self,
        counts: &[(ProviderId, ProviderCounts)],
    ) -> Result<(), StoreError>;

    /// The counts of each minute from that of `since` on, by minute and provider. Minutes without
    /// events are omitted.
    async fn statistics(&self, since: Timestamp) -> Result<Vec<MinuteCounts>, StoreError>;
}
