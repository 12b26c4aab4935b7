//! One provider, queue or document does not affect the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use evergrant_domain::{DocumentId, Job, ProviderId, Timestamp};
use evergrant_ports::*;
use evergrant_runtime::process_reporter::ProcessReporter;
use evergrant_telemetry::{HealthChecks, ProcessMetrics};
use futures::stream::{self, BoxStream, StreamExt};

use crate::{
    NoProgress, PassSelection, PassSummary, ProducerDeps, ProducerSettings, run, run_once,
};

/// Grants that are due until they are marked.
#[derive(Default)]
struct FakeStore {
    due: Mutex<BTreeMap<ProviderId, Vec<i64>>>,
    /// Documents whose marks the store refuses.
    refuses_marks: BTreeSet<DocumentId>,
    refuses_adoption: bool,
    marks: AtomicU32,
    /// How many parts a sweep has, and how many were read.
    parts: u32,
    swept: AtomicU32,
}

fn refused(operation: &'static str) -> StoreError {
    StoreError::Refused { operation, reason: "a rule".to_owned() }
}

#[async_trait]
impl StoreClock for FakeStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::default())
    }
}

#[async_trait]
impl DueStore for FakeStore {
    async fn adopt(&self) -> Result<u64, StoreError> {
        if self.refuses_adoption { Err(refused("adopt")) } else { Ok(0) }
    }
    async fn unadopted(&self) -> Result<Vec<UnadoptedDocuments>, StoreError> {
        Ok(Vec::new())
    }
    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>> {
        let due = self.due.lock().unwrap().get(&query.provider).cloned().unwrap_or_default();
        let grant = move |id| DueGrant {
            id: DocumentId::Integer(id),
            provider: query.provider.clone(),
            generation: 0,
            next_refresh_at: Timestamp::default(),
        };
        stream::iter(due.into_iter().map(move |id| Ok(grant(id)))).boxed()
    }
    async fn mark_queued(&self, ids: &[DocumentId], _: Duration) -> Result<(), StoreError> {
        self.marks.fetch_add(1, Ordering::Relaxed);
        if ids.iter().any(|id| self.refuses_marks.contains(id)) {
            return Err(refused("mark_queued"));
        }
        for due in self.due.lock().unwrap().values_mut() {
            due.retain(|id| !ids.contains(&DocumentId::Integer(*id)));
        }
        Ok(())
    }
    async fn revive_signed_in(
        &self,
        after: Option<SweepPlace>,
        _: u32,
    ) -> Result<SweepResult, StoreError> {
        let swept = self.swept.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let place = after.unwrap_or_else(SweepPlace::beginning);
        Ok(SweepResult {
            revived: 0,
            next: (!swept.is_multiple_of(self.parts.max(1))).then_some(place),
        })
    }
}

#[async_trait]
impl LeaderElection for FakeStore {
    async fn lead(&self, _: &str, _: &str, _: Duration) -> Result<bool, StoreError> {
        Ok(true)
    }
    async fn resign(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Counts the jobs of each document.
#[derive(Default)]
struct FakeQueue {
    jobs: Mutex<BTreeMap<DocumentId, u32>>,
    /// The provider whose queues cannot be inspected.
    broken: Option<ProviderId>,
    /// Whether the depth of `broken` hangs instead of failing.
    hangs: bool,
    /// Documents whose queue takes no jobs.
    stuck: BTreeSet<DocumentId>,
}

fn unconfirmed() -> QueueError {
    QueueError::Unconfirmed { operation: "publish", reason: "no leader".to_owned() }
}

#[async_trait]
impl JobPublisher for FakeQueue {
    async fn depth(&self, provider: &ProviderId) -> Result<u64, QueueError> {
        if Some(provider) != self.broken.as_ref() {
            return Ok(0);
        }
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Err(QueueError::Unavailable { operation: "depth", reason: "no leader".to_owned() })
    }

    async fn publish(&self, jobs: &[Job]) -> Result<(), QueueError> {
        self.publish_each(jobs).await.into_iter().collect()
    }

    async fn publish_each(&self, jobs: &[Job]) -> Vec<Result<(), QueueError>> {
        let mut counts = self.jobs.lock().unwrap();
        let publish = |job: &Job| {
            if self.stuck.contains(&job.id) {
                return Err(unconfirmed());
            }
            *counts.entry(job.id.clone()).or_default() += 1;
            Ok(())
        };
        jobs.iter().map(publish).collect()
    }
}

/// A producer of the providers `a` (documents 0 to 9) and `b` (from 10 to 19).
struct Scene {
    store: Arc<FakeStore>,
    queue: Arc<FakeQueue>,
    deps: ProducerDeps,
}

fn provider(name: &str) -> ProviderId {
    name.parse().unwrap()
}

impl Scene {
    fn new(store: FakeStore, queue: FakeQueue) -> Self {
        let due = [(provider("a"), (0..10).collect()), (provider("b"), (10..20).collect())];
        let (store, queue) =
            (Arc::new(FakeStore { due: Mutex::new(due.into()), ..store }), Arc::new(queue));
        let deps = ProducerDeps {
            store: store.clone(),
            election: store.clone(),
            queue: queue.clone(),
            providers: vec![provider("a"), provider("b")],
            name: "producer".to_owned(),
            settings: ProducerSettings {
                leader_lease: Duration::from_secs(3),
                sweep_interval: Duration::from_secs(60),
                interval: Duration::from_secs(15),
                max_queued: 1_000,
                window: 4,
                queued_for: Duration::from_secs(60),
            },
            metrics: ProcessMetrics::default(),
            health: HealthChecks::default(),
            reports: ProcessReporter::default(),
        };
        Self { store, queue, deps }
    }

    async fn once(&self) -> PassSummary {
        let selection = PassSelection { which: DueSelection::Due, dry_run: false, sweep: true };
        run_once(&self.deps, &selection, &NoProgress).await
    }

    /// Runs the daemon for this time.
    async fn run_for(self, time: Duration) -> (Arc<FakeStore>, Arc<FakeQueue>) {
        run(self.deps, tokio::time::sleep(time)).await;
        (self.store, self.queue)
    }
}

impl FakeQueue {
    fn jobs_of(&self, ids: impl IntoIterator<Item = i64>) -> Vec<u32> {
        let jobs = self.jobs.lock().unwrap();
        let count = |id| jobs.get(&DocumentId::Integer(id)).copied().unwrap_or_default();
        ids.into_iter().map(count).collect()
    }
}

fn document(id: i64) -> BTreeSet<DocumentId> {
    [DocumentId::Integer(id)].into()
}

#[tokio::test(start_paused = true)]
async fn a_broken_queue_delays_no_other_provider_and_is_reported() {
    let queue = FakeQueue { broken: Some(provider("a")), ..FakeQueue::default() };
    let scene = Scene::new(FakeStore::default(), queue);
    let summary = scene.once().await;
    assert_eq!(scene.queue.jobs_of(10..20), [1; 10]);
    assert!(summary.is_partial() && summary.total_failure().is_none());
    assert!(summary.to_string().contains("a: 0 (failed: depth"), "{summary}");
    assert_eq!(summary.providers[1].published, 10);
    scene.once().await;
    assert_eq!(scene.queue.jobs_of(10..20), [1; 10], "they are marked");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_never_answers_delays_no_other_provider() {
    let queue = FakeQueue { broken: Some(provider("a")), hangs: true, ..FakeQueue::default() };
    let scene = Scene::new(FakeStore::default(), queue);
    let store = Arc::clone(&scene.store);
    let more_is_due = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        store.due.lock().unwrap().insert(provider("b"), vec![20]);
    };
    let ((_, queue), ()) = tokio::join!(scene.run_for(Duration::from_secs(60)), more_is_due);
    assert_eq!(queue.jobs_of(10..21), [1; 11]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_refuses_jobs_delays_no_other_queue() {
    // More documents than a window has, and the most urgent ones.
    let stuck = (0..6).map(DocumentId::Integer).collect();
    let scene = Scene::new(FakeStore::default(), FakeQueue { stuck, ..FakeQueue::default() });
    let summary = scene.once().await;
    assert_eq!(scene.queue.jobs_of(0..20), [[0; 6].as_slice(), &[1; 14]].concat());
    assert!(summary.is_partial());
}

#[tokio::test(start_paused = true)]
async fn a_refused_adoption_delays_no_job() {
    let store = FakeStore { refuses_adoption: true, ..FakeStore::default() };
    let scene = Scene::new(store, FakeQueue::default());
    let summary = scene.once().await;
    assert_eq!(summary.published(), 20);
    assert!(summary.is_partial() && summary.to_string().contains("failed: adopt"), "{summary}");
}

#[tokio::test(start_paused = true)]
async fn an_unmarkable_document_gets_few_jobs_and_delays_no_other() {
    let store = FakeStore { refuses_marks: document(3), ..FakeStore::default() };
    let scene = Scene::new(store, FakeQueue::default());
    let (store, queue) = scene.run_for(Duration::from_secs(3_600)).await;
    assert!(store.due.lock().unwrap().values().flatten().eq(&[3]));
    let jobs = queue.jobs_of(0..20);
    assert!((3..=8).contains(&jobs[3]), "240 passes: {jobs:?}");
    assert_eq!(jobs.iter().sum::<u32>() - jobs[3], 19);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_every_mark_gets_no_single_calls() {
    let refuses_marks = (0..2_000).map(DocumentId::Integer).collect();
    let mut scene =
        Scene::new(FakeStore { refuses_marks, ..FakeStore::default() }, FakeQueue::default());
    scene.deps.settings.window = 1_000;
    let due = [(provider("a"), (0..1_000).collect())].into();
    *scene.store.due.lock().unwrap() = due;
    let summary = scene.once().await;
    assert_eq!((summary.published(), summary.providers[0].unmarked), (1_000, 1_000));
    assert!(scene.store.marks.load(Ordering::Relaxed) < 200);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_runs_in_parts_beside_the_passes() {
    let scene = Scene::new(FakeStore { parts: 10, ..FakeStore::default() }, FakeQueue::default());
    let (store, queue) = scene.run_for(Duration::from_secs(5)).await;
    assert_eq!(queue.jobs_of(0..20), [1; 20]);
    let swept = store.swept.load(Ordering::Relaxed);
    assert!((1..5).contains(&swept), "it rests between parts: {swept}");
}
