//! A process's connection to the store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use evergrant_domain::{DocumentId, GrantStatus, LastError, ProviderId, ProviderState, Timestamp};
use evergrant_memory::MemoryStore;
use evergrant_ports::{
    ClaimResult, Commit, CommitResult, DueGrant, DueQuery, DueStore, LeaderElection, LeaseStore,
    ProviderStates, StoreClock, StoreError, SweepPlace, SweepResult, UnadoptedDocuments,
    VersionedValue,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::broken_store::{broken_commit, broken_due, broken_lease, broken_refusal, broken_rows};
use super::call_latency::{NEAR, fault_of};
use super::poison::{Poison, refused};
use super::process::Process;
use super::{Fault, Sabotage};

/// The store, as a process reaches it.
pub(crate) struct FaultyStore(pub(crate) Arc<Process>);

impl FaultyStore {
    /// Makes a call with its fate.
    async fn call<T, F>(
        &self,
        operation: &'static str,
        effect: impl FnOnce(Arc<MemoryStore>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (process, world) = (&self.0, &self.0.world);
        process.live().await;
        let fate = self.fate();
        if let Some(fault) = fault_of(fate).filter(|_| process.reaches_store()) {
            world.reached(fault);
        }
        let failed =
            |reason: &str| StoreError::Unavailable { operation, reason: reason.to_owned() };
        let store = self.store_at(fate);
        let way_ms = world.plan.store_way_ms;
        if way_ms != NEAR {
            world.reached(Fault::StoreLopsided);
        }
        process.call(fate, way_ms, operation, failed, effect(store)).await
    }

    /// A cursor that may end early.
    fn cut<T>(&self, operation: &'static str, found: Vec<T>) -> Vec<Result<T, StoreError>> {
        let world = &self.0.world;
        let mut items: Vec<_> = found.into_iter().map(Ok).collect();
        if world.chance(world.plan.rates.store_cut) {
            world.reached(Fault::StoreCut);
            items.truncate(world.below(items.len() + 1));
            let reason = "the cursor is lost".to_owned();
            items.push(Err(StoreError::Unavailable { operation, reason }));
        }
        items
    }
}

#[async_trait]
impl StoreClock for FaultyStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.call("now", |store| async move { store.now().await }).await
    }
}

#[async_trait]
impl LeaseStore for FaultyStore {
    async fn claim(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<ClaimResult, StoreError> {
        let (ids, owner, world) = (ids.to_vec(), owner.to_owned(), Arc::clone(&self.0.world));
        let this = Self(Arc::clone(&self.0));
        let claim = |store: Arc<MemoryStore>| async move {
            let store = this.before_suspension(store);
            let sabotage = world.options.sabotage;
            if let Some(at) = world.refused_at(Poison::Claim, &ids) {
                // The documents before it are claimed.
                store.claim(&ids[..at], &owner, lease).await?;
                return Err(broken_refusal(sabotage, refused("claim")));
            }
            let mut claimed = store.claim(&ids, &owner, broken_lease(sabotage, lease)).await?;
            claimed.rows = broken_rows(sabotage, claimed.rows);
            world.claimed(&owner, &ids, &claimed);
            Ok(claimed)
        };
        self.call("claim", claim).await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitResult>, StoreError> {
        let (commits, world) = (commits.to_vec(), Arc::clone(&self.0.world));
        let commit = |store: Arc<MemoryStore>| async move {
            let mut results = Vec::with_capacity(commits.len());
            for commit in &commits {
                if world.refused_at(Poison::Commit, std::slice::from_ref(&commit.id)).is_some() {
                    return Err(refused("commit"));
                }
                let before = store.look(&commit.id);
                let Some(broken) = broken_commit(world.options.sabotage, commit, &before) else {
                    results.push(CommitResult::Applied);
                    continue;
                };
                results.extend(store.commit(&[broken]).await?);
                world.disks.written(&commit.id);
                world.written(commit, &before);
            }
            Ok(results)
        };
        self.call("commit", commit).await
    }

    async fn withhold(
        &self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> Result<bool, StoreError> {
        let (id, spent, last_error) = (id.clone(), spent.to_owned(), last_error.clone());
        let world = Arc::clone(&self.0.world);
        let withhold = |store: Arc<MemoryStore>| async move {
            let waits = store.withhold(&id, &spent, &last_error).await?;
            if waits {
                world.withheld(&id);
            }
            Ok(waits)
        };
        self.call("withhold", withhold).await
    }

    async fn release(&self, ids: &[DocumentId], owner: &str) -> Result<(), StoreError> {
        let (ids, owner) = (ids.to_vec(), owner.to_owned());
        self.call("release", |store| async move { store.release(&ids, &owner).await }).await
    }

    async fn renew(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let (ids, owner) = (ids.to_vec(), owner.to_owned());
        self.call("renew", |store| async move { store.renew(&ids, &owner, lease).await }).await
    }

    async fn revive_dead(
        &self,
        provider: &ProviderId,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let (provider, world) = (provider.clone(), Arc::clone(&self.0.world));
        let revive = |store: Arc<MemoryStore>| async move {
            let dead = world.dead_documents();
            let revived = store.revive_dead(&provider, since).await;
            world.taken_back(&dead);
            revived
        };
        self.call("revive_dead", revive).await
    }
}

#[async_trait]
impl DueStore for FaultyStore {
    async fn adopt(&self) -> Result<u64, StoreError> {
        let world = Arc::clone(&self.0.world);
        let adopt = |store: Arc<MemoryStore>| async move {
            let refused = world.refused_documents(Poison::Adopt, None).await;
            let is_blind = world.is_broken_by(Sabotage::AdoptionToWrongProvider);
            let new = if is_blind { world.not_adopted().await } else { Vec::new() };
            let adopted = store.adopt().await;
            world.refuse(Poison::Adopt, &refused, None);
            world.give_to_default(&new);
            if world.is_broken_by(Sabotage::AdoptionStartsOver) {
                world.start_over().await;
            }
            adopted
        };
        self.call("adopt", adopt).await
    }

    async fn unadopted(&self) -> Result<Vec<UnadoptedDocuments>, StoreError> {
        self.call("unadopted", |store| async move { store.unadopted().await }).await
    }

    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>> {
        let sabotage = self.0.world.options.sabotage;
        let whole = async move {
            let read = |store: Arc<MemoryStore>| async move {
                let due = store.due(query).try_collect::<Vec<_>>().await?;
                Ok(due.into_iter().filter(|due| broken_due(sabotage, due)).collect())
            };
            match self.call("due", read).await {
                Ok(found) => self.cut("due", found),
                Err(error) => vec![Err(error)],
            }
        };
        stream::once(whole).flat_map(stream::iter).boxed()
    }

    async fn mark_queued(&self, ids: &[DocumentId], duration: Duration) -> Result<(), StoreError> {
        self.0.world.is_to_be_marked(&self.0.name, ids);
        let (ids, world) = (ids.to_vec(), Arc::clone(&self.0.world));
        let mark = |store: Arc<MemoryStore>| async move {
            match world.refused_at(Poison::Mark, &ids) {
                // The documents before it are marked.
                Some(at) => {
                    store.mark_queued(&ids[..at], duration).await?;
                    Err(refused("mark_queued"))
                }
                None => store.mark_queued(&ids, duration).await,
            }
        };
        self.call("mark_queued", mark).await
    }

    async fn revive_signed_in(
        &self,
        after: Option<SweepPlace>,
        most: u32,
    ) -> Result<SweepResult, StoreError> {
        let world = Arc::clone(&self.0.world);
        let revive = |store: Arc<MemoryStore>| async move {
            let without = Some(GrantStatus::NoToken);
            let refused = world.refused_documents(Poison::Revive, without).await;
            let revived = store.revive_signed_in(after, most).await;
            world.refuse(Poison::Revive, &refused, without);
            if world.is_broken_by(Sabotage::ReviveWithoutComparing) {
                world.revive_all().await;
            }
            revived
        };
        self.call("revive_signed_in", revive).await
    }
}

#[async_trait]
impl LeaderElection for FaultyStore {
    async fn lead(&self, role: &str, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        let (role, owner) = (role.to_owned(), owner.to_owned());
        self.call("lead", |store| async move { store.lead(&role, &owner, lease).await }).await
    }

    async fn resign(&self, role: &str, owner: &str) -> Result<(), StoreError> {
        let (role, owner) = (role.to_owned(), owner.to_owned());
        self.call("resign", |store| async move { store.resign(&role, &owner).await }).await
    }
}

#[async_trait]
impl ProviderStates for FaultyStore {
    async fn provider_state(
        &self,
        provider: &ProviderId,
    ) -> Result<VersionedValue<ProviderState>, StoreError> {
        let provider = provider.clone();
        self.call("provider_state", |store| async move { store.provider_state(&provider).await })
            .await
    }

    async fn set_provider_state(
        &self,
        provider: &ProviderId,
        version: u64,
        state: &ProviderState,
    ) -> Result<bool, StoreError> {
        let (provider, state, world) = (provider.clone(), state.clone(), Arc::clone(&self.0.world));
        let blind = self.0.world.is_broken_by(Sabotage::BudgetWithoutCompareAndSwap);
        let set = |store: Arc<MemoryStore>| async move {
            let version =
                if blind { store.provider_state(&provider).await?.version } else { version };
            let before = store.provider_state(&provider).await?.value;
            let is_set = store.set_provider_state(&provider, version, &state).await?;
            if is_set {
                world.provider_written(&provider, &before, &state);
            }
            Ok(is_set)
        };
        self.call("set_provider_state", set).await
    }
}
