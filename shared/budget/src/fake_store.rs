//! What replicas know of a provider, kept in memory, on paused time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::time::Instant;

use evergrant_domain::{DocumentId, LastError, ProviderId, ProviderState, Timestamp};
use evergrant_ports::*;

/// A store that knows one provider.
pub(super) struct FakeStore {
    state: Arc<Mutex<(ProviderState, u64)>>,
    /// How long a read takes.
    pub(super) latency: Duration,
    /// How long a write takes.
    pub(super) write: Duration,
    /// How far its clock is from the truth for who reads it, and how wrong it says that it may be: as
    /// an adapter that estimates it.
    estimated: Option<(Duration, Duration)>,
    pub(super) away: AtomicBool,
    pub(super) reads: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) conflicts: AtomicU64,
    started: Instant,
}

/// The store's clock at the start.
pub(super) const START: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

impl FakeStore {
    /// A store whose reads take so long, and its writes twice as long.
    pub(super) fn new(latency: Duration) -> Self {
        Self::with_writes(latency, latency * 2)
    }

    pub(super) fn with_writes(latency: Duration, write: Duration) -> Self {
        Self {
            state: Arc::default(),
            latency,
            write,
            estimated: None,
            away: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            started: Instant::now(),
        }
    }

    /// The same store as another process sees it whose estimate of its clock is behind by so long, and
    /// which says that it may be wrong by `error`.
    pub(super) fn seen_behind(&self, behind: Duration, error: Duration) -> Self {
        Self {
            state: Arc::clone(&self.state),
            estimated: Some((behind, error)),
            started: self.started,
            ..Self::with_writes(self.latency, self.write)
        }
    }

    pub(super) fn state(&self) -> ProviderState {
        self.state.lock().unwrap().0.clone()
    }

    /// As another replica or an operator changes it.
    pub(super) fn change(&self, change: impl FnOnce(&mut ProviderState, Timestamp)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state.0, self.clock());
        state.1 += 1;
    }

    pub(super) fn clock(&self) -> Timestamp {
        START.plus(self.started.elapsed())
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable { operation: "test", reason: "away".to_owned() }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl TokenStore for FakeStore {
    async fn provider_state(&self, _: &ProviderId) -> Result<Versioned<ProviderState>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.latency / 2).await;
        self.check()?;
        let (value, version) = self.state.lock().unwrap().clone();
        let now = self.clock();
        tokio::time::sleep(self.latency / 2).await;
        let (now, now_error) = match self.estimated {
            Some((behind, error)) => (self.clock().minus(behind), Some(error)),
            None => (now, None),
        };
        Ok(Versioned { value, version, now, now_error })
    }

    async fn set_provider_state(
        &self,
        _: &ProviderId,
        version: u64,
        state: &ProviderState,
    ) -> Result<bool, StoreError> {
        tokio::time::sleep(self.write / 2).await;
        self.check()?;
        let replaced = {
            let mut known = self.state.lock().unwrap();
            let current = known.1 == version;
            if current {
                *known = (state.clone(), version + 1);
            }
            current
        };
        let counter = if replaced { &self.writes } else { &self.conflicts };
        counter.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.write / 2).await;
        Ok(replaced)
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn now(&self) -> Result<Timestamp, StoreError> {
        unreachable!()
    }
    async fn adopt(&self) -> Result<u64, StoreError> {
        unreachable!()
    }
    async fn unadopted(&self) -> Result<Vec<Unadopted>, StoreError> {
        unreachable!()
    }
    fn due(&self, _: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>> {
        unreachable!()
    }
    async fn mark_queued(&self, _: &[DocumentId], _: Duration) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn claim(&self, _: &[DocumentId], _: &str, _: Duration) -> Result<Claimed, StoreError> {
        unreachable!()
    }
    async fn commit(&self, _: &[Commit]) -> Result<Vec<Committed>, StoreError> {
        unreachable!()
    }
    async fn release(&self, _: &[DocumentId], _: &str) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn renew(&self, _: &[DocumentId], _: &str, _: Duration) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn lead(&self, _: &str, _: &str, _: Duration) -> Result<bool, StoreError> {
        unreachable!()
    }
    async fn resign(&self, _: &str, _: &str) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn revive_signed_in(&self, _: Option<SweepPlace>, _: u32) -> Result<Revived, StoreError> {
        unreachable!()
    }
    async fn revive_dead(&self, _: &ProviderId, _: Timestamp) -> Result<u64, StoreError> {
        unreachable!()
    }
    fn list(&self, _: GrantFilter) -> BoxStream<'_, Result<GrantView, StoreError>> {
        unreachable!()
    }
    async fn get(&self, _: &DocumentId) -> Result<Option<GrantView>, StoreError> {
        unreachable!()
    }
    async fn withhold(&self, _: &DocumentId, _: &str, _: &LastError) -> Result<bool, StoreError> {
        unreachable!()
    }
    async fn reactivate(
        &self,
        _: &DocumentId,
        _: Duration,
    ) -> Result<Option<DueGrant>, StoreError> {
        unreachable!()
    }
    async fn import_as(
        &self,
        _: Vec<ImportDocument>,
        _: ImportMode,
    ) -> Result<Vec<Imported>, StoreError> {
        unreachable!()
    }
    fn export(&self) -> BoxStream<'_, Result<serde_json::Value, StoreError>> {
        unreachable!()
    }
    fn held_tokens(&self) -> BoxStream<'_, Result<HeldTokens, StoreError>> {
        unreachable!()
    }
    async fn inspect(&self) -> Result<Vec<Finding>, StoreError> {
        unreachable!()
    }
}
