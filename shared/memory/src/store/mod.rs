//! Token documents in memory.
//!
//! * `documents`: where they are, and how a path leads into one.
//! * `lease`, `due`: the way of a grant through a refresh; `revive`: back from its end.
//! * `operate`, `operators`: what operators ask for.
//! * `coordinate`: what replicas agree on.
//!
//! A document is BSON, and is read and changed by the same functions as MongoDB's
//! ([`evergrant_mongodb`]), so that a document that someone has edited means the same here and there.
//! Each operation takes effect at once and as a whole.

mod coordinate;
mod documents;
mod due;
mod keys;
mod lease;
mod operate;
mod operators;
mod revive;
mod token_reader;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};

use self::coordinate::AgreedState;
use self::documents::Documents;
use self::operators::Records;
use super::MemoryClock;
use evergrant_document::adoption::AdoptionRules;
use evergrant_document::transition;
use evergrant_domain::audit::{ActionIntent, ActionProgress, AuditEntry, AuditFilter};
use evergrant_domain::heartbeat::Heartbeat;
use evergrant_domain::statistics::{MinuteCounts, ProviderCounts};
use evergrant_domain::{
    ClaimedDocument, DocumentId, GrantStatus, LastError, ProviderId, ProviderState, Timestamp,
};
use evergrant_ports::{
    ChangeResult, ClaimResult, Commit, CommitResult, DueGrant, DueQuery, DueStore, GrantAdmin,
    GrantChange, GrantCount, GrantFilter, GrantView, HeldTokens, ImportDocument, ImportMode,
    ImportResult, InspectionFinding, KeyRecord, LeaderElection, LeaseStore, OperationsLog,
    ProviderStates, Store, StoreClock, StoreError, SweepPlace, SweepResult, TransferStore,
    UnadoptedDocuments, VersionedValue,
};

/// Token documents in memory. It ends with its last handle, and so do the documents.
pub struct MemoryStore {
    clock: MemoryClock,
    state: Arc<Mutex<State>>,
}

struct State {
    documents: Documents,
    agreed: AgreedState,
    records: Records,
    keys: BTreeMap<String, KeyRecord>,
}

impl MemoryStore {
    /// An empty store. Documents that name no provider are `default_provider`'s.
    pub fn new(clock: MemoryClock, default_provider: Option<ProviderId>) -> Self {
        Self::with_rules(clock, AdoptionRules::of_one(default_provider))
    }

    /// An empty store with rules of adoption.
    pub fn with_rules(clock: MemoryClock, rules: AdoptionRules) -> Self {
        let (documents, agreed) = (Documents::new(rules), AgreedState::default());
        let state = State { documents, agreed, records: Records::default(), keys: BTreeMap::new() };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// The same documents, as a command finds them that the server received at `time` and carries out
    /// later: its clock shows that time.
    #[must_use]
    pub fn as_of(&self, time: Timestamp) -> Self {
        Self { clock: MemoryClock::stopped_at(time), state: Arc::clone(&self.state) }
    }

    /// A document as a claim would find it. Looking changes nothing.
    pub fn look(&self, id: &DocumentId) -> ClaimedDocument {
        self.with(|state, _| state.documents.look(id))
    }

    /// Sets what is at a path of a document, or takes it away, as someone with a database client
    /// would: the value is extended JSON, and a dot leads into a sub-document. False if there is no
    /// such document.
    ///
    /// # Errors
    /// If the value is not extended JSON.
    pub fn edit(
        &self,
        id: &DocumentId,
        path: &str,
        value: Option<serde_json::Value>,
    ) -> Result<bool, StoreError> {
        self.with(|state, _| state.documents.edit(id, path, value))
    }

    /// Does something with everything that is stored, at a time of the store's clock.
    fn with<T>(&self, act: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), self.clock.now())
    }
}

fn refused(operation: &'static str, reason: impl Into<String>) -> StoreError {
    StoreError::Refused { operation, reason: reason.into() }
}

fn streamed<T: Send + 'static>(items: Vec<T>) -> BoxStream<'static, Result<T, StoreError>> {
    stream::iter(items.into_iter().map(Ok)).boxed()
}

#[async_trait]
impl StoreClock for MemoryStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }
}

#[async_trait]
impl LeaseStore for MemoryStore {
    async fn claim(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<ClaimResult, StoreError> {
        Ok(self.with(|state, now| state.documents.claim(ids, owner, lease, now)))
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitResult>, StoreError> {
        self.with(|state, _| commits.iter().map(|c| state.documents.commit(c)).collect())
    }

    async fn withhold(
        &self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> Result<bool, StoreError> {
        Ok(self.with(|state, now| state.documents.withhold(id, spent, last_error, now)))
    }

    async fn release(&self, ids: &[DocumentId], owner: &str) -> Result<(), StoreError> {
        self.with(|state, now| {
            let release = transition::release(&state.documents.names, owner);
            state.documents.carry_out(ids, &release, now);
        });
        Ok(())
    }

    async fn renew(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        self.with(|state, now| {
            let renew = transition::renew(&state.documents.names, owner, lease);
            state.documents.carry_out(ids, &renew, now);
        });
        Ok(())
    }

    async fn revive_dead(
        &self,
        provider: &ProviderId,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        Ok(self.with(|state, now| state.documents.revive_dead(provider, since, now)))
    }
}

#[async_trait]
impl DueStore for MemoryStore {
    async fn adopt(&self) -> Result<u64, StoreError> {
        Ok(self.with(|state, now| state.documents.adopt(now)))
    }

    async fn unadopted(&self) -> Result<Vec<UnadoptedDocuments>, StoreError> {
        Ok(self.with(|state, _| state.documents.unadopted()))
    }

    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>> {
        streamed(self.with(|state, now| state.documents.due(&query, now)))
    }

    async fn mark_queued(&self, ids: &[DocumentId], duration: Duration) -> Result<(), StoreError> {
        self.with(|state, now| {
            let mark = transition::mark_queued(&state.documents.names, duration);
            state.documents.carry_out(ids, &mark, now);
        });
        Ok(())
    }

    async fn revive_signed_in(
        &self,
        after: Option<SweepPlace>,
        most: u32,
    ) -> Result<SweepResult, StoreError> {
        Ok(self.with(|state, now| state.documents.sweep(after, most, now)))
    }
}

#[async_trait]
impl LeaderElection for MemoryStore {
    async fn lead(&self, role: &str, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        Ok(self.with(|state, now| state.agreed.lead(role, owner, lease, now)))
    }

    async fn resign(&self, role: &str, owner: &str) -> Result<(), StoreError> {
        self.with(|state, _| state.agreed.resign(role, owner));
        Ok(())
    }
}

#[async_trait]
impl ProviderStates for MemoryStore {
    async fn provider_state(
        &self,
        provider: &ProviderId,
    ) -> Result<VersionedValue<ProviderState>, StoreError> {
        Ok(self.with(|state, now| state.agreed.provider_state(provider, now)))
    }

    async fn set_provider_state(
        &self,
        provider: &ProviderId,
        version: u64,
        value: &ProviderState,
    ) -> Result<bool, StoreError> {
        Ok(self.with(|state, _| state.agreed.set_provider_state(provider, version, value)))
    }
}

#[async_trait]
impl GrantAdmin for MemoryStore {
    fn list(&self, filter: GrantFilter) -> BoxStream<'_, Result<GrantView, StoreError>> {
        streamed(self.with(|state, _| state.documents.list(&filter)))
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<GrantView>, StoreError> {
        Ok(self.with(|state, _| state.documents.view(id)))
    }

    async fn statuses(&self, ids: &[DocumentId]) -> Result<Vec<Option<GrantStatus>>, StoreError> {
        let status = |state: &State, id| state.documents.view(id).and_then(|view| view.status);
        Ok(self.with(|state, _| ids.iter().map(|id| status(state, id)).collect()))
    }

    async fn count_grants(&self) -> Result<Vec<GrantCount>, StoreError> {
        Ok(self.with(|state, _| state.documents.count_grants()))
    }

    async fn count_due(&self, provider: &ProviderId, most: u64) -> Result<u64, StoreError> {
        Ok(self.with(|state, now| state.documents.count_due(provider, most, now)))
    }

    async fn reactivate(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError> {
        Ok(self.with(|state, now| state.documents.reactivate(id, queued, now)))
    }

    async fn change_grant(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<ChangeResult, StoreError> {
        Ok(self.with(|state, now| state.documents.change(id, change, now)))
    }
}

#[async_trait]
impl TransferStore for MemoryStore {
    async fn import_as(
        &self,
        documents: Vec<ImportDocument>,
        mode: ImportMode,
    ) -> Result<Vec<ImportResult>, StoreError> {
        self.with(|state, _| state.documents.import(documents, mode))
    }

    fn export(&self) -> BoxStream<'_, Result<serde_json::Value, StoreError>> {
        streamed(self.with(|state, _| state.documents.export()))
    }

    fn held_tokens(&self) -> BoxStream<'_, Result<HeldTokens, StoreError>> {
        streamed(self.with(|state, _| state.documents.held_tokens()))
    }
}

#[async_trait]
impl OperationsLog for MemoryStore {
    async fn begin_audit(&self, intent: ActionIntent) -> Result<AuditEntry, StoreError> {
        Ok(self.with(|state, now| state.records.begin_audit(intent, now)))
    }

    async fn tell_audit(&self, id: &str, progress: &ActionProgress) -> Result<(), StoreError> {
        self.with(|state, now| state.records.tell_audit(id, progress, now));
        Ok(())
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(self.with(|state, _| state.records.audit(filter)))
    }

    async fn audit_chain(&self, number: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(self.with(|state, _| state.records.audit_chain(number, limit)))
    }

    async fn audit_entry(&self, id: &str) -> Result<Option<AuditEntry>, StoreError> {
        Ok(self.with(|state, _| state.records.audit_entry(id)))
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        self.with(|state, now| state.records.beat(heartbeat, now));
        Ok(())
    }

    async fn end_beat(&self, name: &str) -> Result<(), StoreError> {
        self.with(|state, _| state.records.end_beat(name));
        Ok(())
    }

    async fn processes(&self) -> Result<Vec<Heartbeat>, StoreError> {
        Ok(self.with(|state, _| state.records.processes()))
    }

    async fn add_statistics(
        &self,
        counts: &[(ProviderId, ProviderCounts)],
    ) -> Result<(), StoreError> {
        self.with(|state, now| state.records.add_statistics(counts, now));
        Ok(())
    }

    async fn statistics(&self, since: Timestamp) -> Result<Vec<MinuteCounts>, StoreError> {
        Ok(self.with(|state, _| state.records.statistics(since)))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn prepare(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn inspect(&self) -> Result<Vec<InspectionFinding>, StoreError> {
        Ok(self.with(|state, _| state.documents.findings()))
    }
}
