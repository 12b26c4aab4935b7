//! A fake store of provider states, on paused time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use evergrant_domain::{ProviderId, ProviderState, Timestamp};
use evergrant_ports::*;

/// A store with one provider.
pub(super) struct FakeStore {
    state: Arc<Mutex<(ProviderState, u64)>>,
    /// The duration of a read.
    pub(super) latency: Duration,
    /// The duration of a write.
    pub(super) write: Duration,
    /// For an adapter that estimates the store's clock: how far the estimate is from the truth, and
    /// its reported error.
    estimated: Option<(Duration, Duration)>,
    pub(super) away: AtomicBool,
    pub(super) reads: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) conflicts: AtomicU64,
    started: Instant,
}

/// The store's time at the start.
pub(super) const START: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

impl FakeStore {
    /// A store with this duration of a read; a write takes twice as long.
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

    /// The same store for another process, whose estimate of the clock is behind by this much and
    /// reports `error`.
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

    /// Changes the state, as another replica or an operator does.
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
impl ProviderStates for FakeStore {
    async fn provider_state(
        &self,
        _: &ProviderId,
    ) -> Result<VersionedValue<ProviderState>, StoreError> {
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
        Ok(VersionedValue { value, version, now, now_error })
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
}
