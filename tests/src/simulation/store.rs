//! A process's way to the store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use evergrant_shared::domain::{
    DocumentId, LastError, ProviderId, ProviderState, Row, Timestamp, Write,
};
use evergrant_shared::memory::MemoryStore;
use evergrant_shared::ports::{
    Claimed, Commit, Committed, DueGrant, DueQuery, Finding, GrantFilter, GrantView, ImportCount,
    ImportDocument, StoreError, TokenStore, Versioned,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use secrecy::ExposeSecret;

use super::process::{Fate, Process};
use super::sabotage::Sabotage;
use super::world::World;

/// The store as a process reaches it.
pub(crate) struct FaultyStore(pub(crate) Arc<Process>);

impl FaultyStore {
    /// Makes a call, or does not, as it happens.
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
        if fate != Fate::Works {
            world.with(|state| state.figures.store_faults += 1);
        }
        let failed =
            |reason: &str| StoreError::Unavailable { operation, reason: reason.to_owned() };
        process.call(fate, operation, failed, effect(Arc::clone(&world.store))).await
    }

    fn fate(&self) -> Fate {
        let world = &self.0.world;
        let rates = &world.plan.rates;
        if !self.0.reaches_store() {
            return Fate::Fails;
        }
        if world.chance(rates.crash) {
            return [Fate::CrashBefore, Fate::CrashAfter, Fate::CrashAmid][world.below(3)];
        }
        let fates = [
            (rates.store_fails, Fate::Fails),
            (rates.store_unanswered, Fate::Unanswered),
            (rates.store_late, Fate::Late),
            (rates.store_slow, Fate::SlowBefore),
            (rates.store_slow, Fate::SlowAfter),
        ];
        let drawn = fates.into_iter().find(|(rate, _)| world.chance(*rate));
        drawn.map_or(Fate::Works, |(_, fate)| fate)
    }

    fn read_only<T: Send + 'static>(
        &self,
        operation: &'static str,
        read: impl FnOnce(Arc<MemoryStore>) -> BoxStream<'static, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> BoxStream<'_, Result<T, StoreError>> {
        let whole = async move {
            let found = self.call(operation, |store| read(store).try_collect::<Vec<T>>()).await;
            match found {
                Ok(found) => stream::iter(self.cut(operation, found)).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        stream::once(whole).flatten().boxed()
    }

    /// A reading that may end before its end.
    fn cut<T>(&self, operation: &'static str, found: Vec<T>) -> Vec<Result<T, StoreError>> {
        let world = &self.0.world;
        let mut items: Vec<_> = found.into_iter().map(Ok).collect();
        if world.chance(world.plan.rates.store_cut) {
            items.truncate(world.below(items.len() + 1));
            let reason = "the cursor is lost".to_owned();
            items.push(Err(StoreError::Unavailable { operation, reason }));
        }
        items
    }
}

#[async_trait]
impl TokenStore for FaultyStore {
    async fn prepare(&self) -> Result<(), StoreError> {
        self.call("prepare", |store| async move { store.prepare().await }).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.call("now", |store| async move { store.now().await }).await
    }

    async fn adopt(&self) -> Result<u64, StoreError> {
        self.call("adopt", |store| async move { store.adopt().await }).await
    }

    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>> {
        self.read_only("due", |store| {
            stream::once(async move { store.due(query).collect::<Vec<_>>().await })
                .flat_map(stream::iter)
                .boxed()
        })
    }

    async fn mark_queued(&self, ids: &[DocumentId], duration: Duration) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.call("mark_queued", |store| async move { store.mark_queued(&ids, duration).await })
            .await
    }

    async fn claim(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        let (ids, owner, world) = (ids.to_vec(), owner.to_owned(), Arc::clone(&self.0.world));
        let claim = |store: Arc<MemoryStore>| async move {
            let mut claimed = store.claim(&ids, &owner, lease).await?;
            if world.options.sabotage == Some(Sabotage::NoLease) {
                claimed.rows = claimed.rows.into_iter().map(as_if_owned).collect();
            }
            world.claimed(&owner, &ids, &claimed.rows);
            Ok(claimed)
        };
        self.call("claim", claim).await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Committed>, StoreError> {
        let (commits, world) = (commits.to_vec(), Arc::clone(&self.0.world));
        let commit = |store: Arc<MemoryStore>| async move {
            let mut results = Vec::with_capacity(commits.len());
            for commit in &commits {
                let before = store.look(&commit.id);
                let conditions = sabotaged(world.options.sabotage, commit, &before);
                results.extend(store.commit(&[conditions]).await?);
                world.written(commit, &before);
            }
            Ok(results)
        };
        self.call("commit", commit).await
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

    async fn lead(&self, role: &str, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        let (role, owner) = (role.to_owned(), owner.to_owned());
        self.call("lead", |store| async move { store.lead(&role, &owner, lease).await }).await
    }

    async fn resign(&self, role: &str, owner: &str) -> Result<(), StoreError> {
        let (role, owner) = (role.to_owned(), owner.to_owned());
        self.call("resign", |store| async move { store.resign(&role, &owner).await }).await
    }

    async fn revive_signed_in(&self) -> Result<u64, StoreError> {
        self.call("revive_signed_in", |store| async move { store.revive_signed_in().await }).await
    }

    async fn revive_dead(
        &self,
        provider: &ProviderId,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let provider = provider.clone();
        let revive =
            |store: Arc<MemoryStore>| async move { store.revive_dead(&provider, since).await };
        self.call("revive_dead", revive).await
    }

    async fn provider_state(
        &self,
        provider: &ProviderId,
    ) -> Result<Versioned<ProviderState>, StoreError> {
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
        let (provider, state) = (provider.clone(), state.clone());
        let set = |store: Arc<MemoryStore>| async move {
            store.set_provider_state(&provider, version, &state).await
        };
        self.call("set_provider_state", set).await
    }

    fn list(&self, filter: GrantFilter) -> BoxStream<'_, Result<GrantView, StoreError>> {
        self.read_only("list", |store| {
            stream::once(async move { store.list(filter).collect::<Vec<_>>().await })
                .flat_map(stream::iter)
                .boxed()
        })
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<GrantView>, StoreError> {
        let id = id.clone();
        self.call("get", |store| async move { store.get(&id).await }).await
    }

    async fn withhold(
        &self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> Result<bool, StoreError> {
        let (id, spent, last_error) = (id.clone(), spent.to_owned(), last_error.clone());
        self.call("withhold", |store| async move { store.withhold(&id, &spent, &last_error).await })
            .await
    }

    async fn reactivate(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError> {
        let id = id.clone();
        self.call("reactivate", |store| async move { store.reactivate(&id, queued).await }).await
    }

    async fn import(&self, documents: Vec<ImportDocument>) -> Result<ImportCount, StoreError> {
        self.call("import", |store| async move { store.import(documents).await }).await
    }

    fn export(&self) -> BoxStream<'_, Result<serde_json::Value, StoreError>> {
        self.read_only("export", |store| {
            stream::once(async move { store.export().collect::<Vec<_>>().await })
                .flat_map(stream::iter)
                .boxed()
        })
    }

    async fn inspect(&self) -> Result<Vec<Finding>, StoreError> {
        self.call("inspect", |store| async move { store.inspect().await }).await
    }
}

fn as_if_owned(row: Row) -> Row {
    match row {
        Row::Present { grant, lease, .. } => Row::Present { grant, lease, owned: true },
        other => other,
    }
}

/// The commit with the conditions that a broken build would make.
fn sabotaged(sabotage: Option<Sabotage>, commit: &Commit, now: &Row) -> Commit {
    let mut commit = commit.clone();
    let Row::Present { grant, lease, .. } = now else { return commit };
    let is_end = matches!(commit.write, Write::End { .. });
    let token = commit.sent.as_ref().map(|_| grant.refresh_token.clone());
    match sabotage {
        Some(Sabotage::UnconditionalCommit) => {
            commit.sent = token;
            commit.generation = Some(grant.generation);
            commit.owner = lease.as_ref().map_or(commit.owner, |lease| lease.owner.clone());
        }
        Some(Sabotage::NoReread) if is_end => commit.sent = token,
        _ => {}
    }
    commit
}

impl World {
    /// A claim was made.
    fn claimed(&self, owner: &str, ids: &[DocumentId], after: &[Row]) {
        for (id, after) in ids.iter().zip(after) {
            self.looked_at(id, after);
            self.note(|| {
                let state = if after.owned() { "owned" } else { "not owned" };
                format!("claim {owner}: {id} is {state}")
            });
            // Whoever held it may have sent the token.
            if let Row::Present { grant, lease: Some(lease), owned: true } = after
                && lease.taken_over.is_some()
            {
                let token = grant.refresh_token.expose_secret().to_owned();
                self.note(|| format!("claim {owner}: {id} is taken over"));
                self.with(|state| state.tokens.doubted.insert(token));
            }
        }
    }

    /// A commit was made, and may have had an effect.
    fn written(&self, commit: &Commit, before: &Row) {
        let after = self.store.look(&commit.id);
        if !has_changed(before, &after) {
            self.note(|| format!("commit {}: {} has no effect", commit.owner, commit.id));
            return;
        }
        self.changed(&commit.id);
        let what = match &commit.write {
            Write::Refresh { .. } => "refreshed",
            Write::Postpone { .. } => "postponed",
            Write::End { status, .. } => status.as_str(),
        };
        self.note(|| format!("commit {}: {} is {what}", commit.owner, commit.id));
        if matches!(commit.write, Write::Refresh { .. }) {
            self.with(|state| state.figures.refreshes += 1);
        }
        let Row::Present { grant, lease, .. } = before else { return };
        let sent = commit.sent.as_ref().map(ExposeSecret::expose_secret);
        if sent.is_some_and(|sent| sent != grant.refresh_token.expose_secret()) {
            self.violate(format!(
                "{}: {} was written for a token it no longer holds",
                what, commit.id
            ));
        }
        if commit.expected_generation().is_some_and(|generation| generation != grant.generation) {
            self.violate(format!("{}: {} was written for an earlier generation", what, commit.id));
        }
        let leased = lease.as_ref().is_some_and(|lease| lease.owner == commit.owner);
        if !leased && !matches!(commit.write, Write::Refresh { .. }) {
            self.violate(format!("{}: {} was written without its lease", what, commit.id));
        }
    }
}

/// Whether a commit has had an effect. Giving back a lease is none.
fn has_changed(before: &Row, after: &Row) -> bool {
    match (before, after) {
        (Row::Present { grant: was, .. }, Row::Present { grant: is, .. }) => {
            was.generation != is.generation
                || was.status != is.status
                || was.attempts != is.attempts
                || was.next_refresh_at != is.next_refresh_at
                || was.last_error != is.last_error
                || was.refresh_token.expose_secret() != is.refresh_token.expose_secret()
        }
        (Row::Malformed { .. }, Row::Malformed { .. }) => true,
        _ => false,
    }
}
