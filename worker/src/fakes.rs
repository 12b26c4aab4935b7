//! A store, a queue, a provider and a delivery that do what a test wants, on paused time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use evergrant_shared::budget::LocalBudget;
use evergrant_shared::config::Config;
use evergrant_shared::domain::classify::{Answer, Exchange};
use evergrant_shared::domain::job::JOB_VERSION;
use evergrant_shared::domain::{
    DeadLetter, DocumentId, Grant, Job, ProviderId, ProviderState, Row, SealedAnswer, Status,
    Timestamp,
};
use evergrant_shared::ports::*;
use evergrant_shared::provider::TokenEndpoint;
use evergrant_shared::telemetry::{Health, Metrics};
use futures::stream::BoxStream;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::lane::Lane;
use crate::metrics::WorkerMetrics;
use crate::work::Work;
use crate::{ProviderDeps, WorkerSettings};

/// Grants every claim, after a while.
#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) claim_takes: Duration,
    /// The document that the store refuses to write.
    pub(crate) refuses: Option<DocumentId>,
    pub(crate) committed: Mutex<Vec<Commit>>,
}

fn grant(id: &DocumentId) -> Grant {
    Grant {
        id: id.clone(),
        provider: "p".parse().unwrap(),
        status: Status::Active,
        generation: 0,
        refresh_token: "token".into(),
        refresh_absolute_until: None,
        next_refresh_at: Timestamp::default(),
        attempts: 0,
        failing_since: None,
        in_doubt: false,
        last_error: None,
    }
}

#[async_trait]
impl TokenStore for FakeStore {
    async fn claim(
        &self,
        ids: &[DocumentId],
        _owner: &str,
        _lease: Duration,
    ) -> Result<Claimed, StoreError> {
        tokio::time::sleep(self.claim_takes).await;
        let row = |id| Row::Present { grant: grant(id), lease: None, owned: true };
        Ok(Claimed { now: Timestamp::default(), rows: ids.iter().map(row).collect() })
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Committed>, StoreError> {
        if commits.iter().any(|commit| Some(&commit.id) == self.refuses.as_ref()) {
            let reason = "a rule".to_owned();
            return Err(StoreError::Refused { operation: "commit", reason });
        }
        self.committed.lock().unwrap().extend_from_slice(commits);
        Ok(vec![Committed::Applied; commits.len()])
    }

    async fn release(&self, _ids: &[DocumentId], _owner: &str) -> Result<(), StoreError> {
        Ok(())
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
    fn due(&self, _query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>> {
        unreachable!()
    }
    async fn mark_queued(&self, _: &[DocumentId], _: Duration) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn renew(&self, _: &[DocumentId], _: &str, _: Duration) -> Result<(), StoreError> {
        Ok(())
    }
    async fn lead(&self, _: &str, _: &str, _: Duration) -> Result<bool, StoreError> {
        unreachable!()
    }
    async fn resign(&self, _: &str, _: &str) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn revive_signed_in(&self) -> Result<u64, StoreError> {
        unreachable!()
    }
    async fn revive_dead(&self, _: &ProviderId, _: Timestamp) -> Result<u64, StoreError> {
        unreachable!()
    }
    async fn provider_state(&self, _: &ProviderId) -> Result<Versioned<ProviderState>, StoreError> {
        unreachable!()
    }
    async fn set_provider_state(
        &self,
        _: &ProviderId,
        _: u64,
        _: &ProviderState,
    ) -> Result<bool, StoreError> {
        unreachable!()
    }
    fn list(&self, _filter: GrantFilter) -> BoxStream<'_, Result<GrantView, StoreError>> {
        unreachable!()
    }
    async fn get(&self, _id: &DocumentId) -> Result<Option<GrantView>, StoreError> {
        unreachable!()
    }
    async fn reactivate(
        &self,
        _id: &DocumentId,
        _queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError> {
        unreachable!()
    }
    async fn import(&self, _documents: Vec<ImportDocument>) -> Result<ImportCount, StoreError> {
        unreachable!()
    }
    fn export(&self) -> BoxStream<'_, Result<serde_json::Value, StoreError>> {
        unreachable!()
    }
    async fn inspect(&self) -> Result<Vec<Finding>, StoreError> {
        unreachable!()
    }
}

/// Takes retries, but not the first few.
#[derive(Default)]
pub(crate) struct FakeQueue {
    pub(crate) failures: AtomicU32,
    pub(crate) retried: AtomicU32,
}

#[async_trait]
impl JobQueue for FakeQueue {
    async fn retry(&self, _job: &Job, _delay: Duration) -> Result<(), QueueError> {
        let left = self.failures.load(Ordering::Relaxed);
        if left > 0 {
            self.failures.store(left - 1, Ordering::Relaxed);
            let reason = "an alarm".to_owned();
            return Err(QueueError::Unavailable { operation: "retry", reason });
        }
        self.retried.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn prepare(&self) -> Result<(), QueueError> {
        unreachable!()
    }
    async fn depth(&self, _provider: &ProviderId) -> Result<u64, QueueError> {
        unreachable!()
    }
    async fn publish(&self, _jobs: &[Job]) -> Result<(), QueueError> {
        unreachable!()
    }
    async fn bury(&self, _letter: &DeadLetter) -> Result<(), QueueError> {
        unreachable!()
    }
    async fn consume(
        &self,
        _provider: &ProviderId,
        _shards: Option<&[u16]>,
        _prefetch: u16,
    ) -> Result<Box<dyn Intake>, QueueError> {
        unreachable!()
    }
    async fn rescue(&self, _: &SealedAnswer) -> Result<(), QueueError> {
        unreachable!()
    }
    async fn consume_rescues(&self, _: u16) -> Result<Box<dyn Intake>, QueueError> {
        unreachable!()
    }
    async fn dead_letters(&self, _: &ProviderId) -> Result<Box<dyn DeadLetters>, QueueError> {
        unreachable!()
    }
    async fn inspect(&self) -> Result<Vec<Finding>, QueueError> {
        unreachable!()
    }
}

/// Counts requests and refreshes each.
#[derive(Default)]
pub(crate) struct FakeEndpoint {
    pub(crate) requests: AtomicU32,
}

#[async_trait]
impl TokenEndpoint for FakeEndpoint {
    async fn exchange(&self, _refresh_token: &SecretString) -> Exchange {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let body = br#"{"access_token":"a"}"#.to_vec();
        Exchange::Answered(Answer { status: 200, retry_after_ms: None, body })
    }
}

/// Counts what is acknowledged.
struct FakeAcker(Arc<AtomicU32>);

#[async_trait]
impl Acker for FakeAcker {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A lane between the fakes.
pub(crate) struct Fakes {
    pub(crate) lane: Arc<Lane>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) queue: Arc<FakeQueue>,
    pub(crate) endpoint: Arc<FakeEndpoint>,
    pub(crate) acknowledged: Arc<AtomicU32>,
}

impl Fakes {
    pub(crate) fn new(store: FakeStore, queue: FakeQueue) -> Self {
        let variables = [
            ("TOKEN_URL", "http://localhost/token"),
            ("CLIENT_ID", "c"),
            ("CLIENT_SECRET", "s"),
            ("LIMITS", "[]"),
        ];
        let variables = variables
            .map(|(name, value)| (format!("EVERGRANT_PROVIDERS__P__{name}").into(), value.into()));
        let config = Config::from_parts(None, variables, &[]).unwrap();
        let provider = Arc::new(config.providers().unwrap().remove(0));
        let (store, queue) = (Arc::new(store), Arc::new(queue));
        let endpoint = Arc::new(FakeEndpoint::default());
        let settings = WorkerSettings {
            name: "worker".to_owned(),
            exchanges_in_flight: config.worker.exchanges_in_flight,
            batch: config.worker.batch,
            permit_wait: config.worker.permit_wait,
            lease: config.worker.lease,
            shards: None,
            shutdown_grace: config.worker.shutdown_grace,
        };
        let budget = Arc::new(LocalBudget::new(&[]));
        let lane = Lane::new(
            ProviderDeps { provider, endpoint: endpoint.clone(), budget },
            store.clone(),
            queue.clone(),
            Arc::new(settings),
            WorkerMetrics::register(&Metrics::default()),
            Health::default(),
            CancellationToken::new(),
        );
        Self { lane, store, queue, endpoint, acknowledged: Arc::default() }
    }

    /// A job for a document.
    pub(crate) fn work(&self, id: i64) -> Work {
        let job = Job {
            version: JOB_VERSION,
            provider: "p".parse().unwrap(),
            id: DocumentId::Integer(id),
            generation: 0,
            force: false,
            redrive_count: 0,
            enqueued_at: Timestamp::default(),
        };
        let acker = Box::new(FakeAcker(self.acknowledged.clone()));
        Work { job, acker, redelivered: false, place: None }
    }

    /// Waits until all jobs are done with.
    pub(crate) async fn finish(&self) {
        self.lane.jobs.close();
        self.lane.jobs.wait().await;
    }

    pub(crate) fn requests(&self) -> u32 {
        self.endpoint.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}
