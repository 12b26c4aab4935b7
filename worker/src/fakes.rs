//! A store, a queue, a provider and a delivery that do what a test wants, on paused time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use evergrant_shared::budget::{Budget, Permit};
use evergrant_shared::config::Config;
use evergrant_shared::domain::classify::{Answer, Exchange};
use evergrant_shared::domain::marks::Remembers;
use evergrant_shared::domain::weigh::{Belief, Evidence};
use evergrant_shared::domain::{
    DeadLetter, DocumentId, Grant, Job, LastError, Lease, Predecessor, ProviderId, ProviderState,
    Row, SealedAnswer, Signal, Status, Timestamp,
};
use evergrant_shared::ports::*;
use evergrant_shared::provider::TokenEndpoint;
use evergrant_shared::reports::Reports;
use evergrant_shared::rescue::{Entry, Estate, Journal, Keys, Left, Sealer};
use evergrant_shared::telemetry::{Health, Metrics};
use futures::stream::BoxStream;
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lane::{Common, Lane};
use crate::metrics::WorkerMetrics;
use crate::nets::Nets;
use crate::recovery::Recovery;
use crate::rescuer::Rescuer;
use crate::rescues::Rescues;
use crate::steady_clock::{SteadyClock, SteadyTime};
use crate::turns::Turns;
use crate::work::Work;
use crate::{ProviderDeps, WorkerSettings};

/// Fakes with a store that takes nothing for so long, from the first write on.
pub(crate) fn away_for(away_for: Duration) -> Fakes {
    let away_for = away_for.into();
    Fakes::new(FakeStore { away_for, ..FakeStore::default() }, FakeQueue::default())
}

/// Waits until something is so.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Grants every claim, after a while.
#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) claim_takes: Duration,
    /// The lease on every document, if somebody else has one.
    pub(crate) held: Mutex<Option<Lease>>,
    /// The document that the store refuses to write.
    pub(crate) refuses: Mutex<Option<DocumentId>>,
    /// The documents that the store refuses to claim.
    pub(crate) refuses_claims: Mutex<BTreeSet<DocumentId>>,
    /// When the access tokens of all documents expire, as the application tells.
    pub(crate) signed_in_until: Option<Timestamp>,
    /// How many claims were asked for.
    pub(crate) claims: AtomicU32,
    /// Who leads in each role.
    pub(crate) leaders: Mutex<BTreeMap<String, String>>,
    /// How long the store takes no commit, from its first one.
    pub(crate) away_for: Mutex<Duration>,
    pub(crate) away_since: Mutex<Option<Instant>>,
    /// More documents than this in one commit are not written in time.
    pub(crate) too_many: Option<usize>,
    pub(crate) committed: Mutex<Vec<Commit>>,
    /// What was put out of reach: documents, and the fingerprints of their spent tokens.
    pub(crate) withheld: Mutex<Vec<(DocumentId, String)>>,
    /// How many of the next calls that write to a document are never answered.
    pub(crate) unanswered: AtomicU32,
    /// No document holds the token any more that was sent.
    pub(crate) moved_on: AtomicBool,
}

impl FakeStore {
    fn answers(&self, operation: &'static str) -> Result<(), StoreError> {
        let since = *self.away_since.lock().unwrap().get_or_insert_with(Instant::now);
        if since.elapsed() < *self.away_for.lock().unwrap() {
            let reason = "away".to_owned();
            return Err(StoreError::Unavailable { operation, reason });
        }
        Ok(())
    }

    /// For ever, if this call is one that is never answered.
    async fn hang(&self) {
        if self.unanswered.load(Ordering::Relaxed) > 0 {
            self.unanswered.fetch_sub(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
    }
}

fn grant(id: &DocumentId) -> Grant {
    Grant {
        id: id.clone(),
        provider: "p".parse().unwrap(),
        status: Status::Active,
        generation: 0,
        refresh_token: "token".into(),
        ends: evergrant_shared::domain::schedule::KnownEnds::default(),
        next_refresh_at: Timestamp::default(),
        attempts: 0,
        failing_since: None,
        in_doubt: false,
        questioned: false,
        remembers: Remembers::Others,
        signed_in_until: None,
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
        self.claims.fetch_add(1, Ordering::Relaxed);
        let refused = self.refuses_claims.lock().unwrap();
        if ids.iter().any(|id| refused.contains(id)) {
            let reason = "a rule".to_owned();
            return Err(StoreError::Refused { operation: "claim", reason });
        }
        drop(refused);
        let held = self.held.lock().unwrap().clone();
        let is_over = held.as_ref().is_none_or(|held| held.until == Timestamp::default());
        let predecessor = |held: &Lease| is_over.then(|| Predecessor::Claim(held.owner.clone()));
        let lease = held.map(|held| Box::new(Lease { taken_over: predecessor(&held), ..held }));
        let told = self.signed_in_until;
        let grant = |id| Grant { signed_in_until: told, ..grant(id) };
        let row = |id| Row::Present { grant: grant(id), lease: lease.clone(), owned: is_over };
        Ok(Claimed { now: Timestamp::default(), rows: ids.iter().map(row).collect() })
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Committed>, StoreError> {
        self.answers("commit")?;
        self.hang().await;
        if self.too_many.is_some_and(|too_many| commits.len() > too_many) {
            tokio::time::sleep(Duration::from_secs(45)).await;
            let reason = "no answer in time".to_owned();
            return Err(StoreError::Unavailable { operation: "commit", reason });
        }
        let refuses = self.refuses.lock().unwrap().clone();
        if commits.iter().any(|commit| Some(&commit.id) == refuses.as_ref()) {
            let reason = "a rule".to_owned();
            return Err(StoreError::Refused { operation: "commit", reason });
        }
        self.committed.lock().unwrap().extend_from_slice(commits);
        *self.held.lock().unwrap() = None;
        Ok(vec![Committed::Applied; commits.len()])
    }

    async fn release(&self, _ids: &[DocumentId], _owner: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.answers("now").map(|()| Timestamp::default())
    }
    async fn adopt(&self) -> Result<u64, StoreError> {
        unreachable!()
    }
    async fn unadopted(&self) -> Result<Vec<Unadopted>, StoreError> {
        unreachable!()
    }
    fn due(&self, _query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>> {
        unreachable!()
    }
    async fn mark_queued(&self, _: &[DocumentId], _: Duration) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn renew(
        &self,
        _: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let mut held = self.held.lock().unwrap();
        if let Some(held) = held.as_mut().filter(|held| held.owner == owner) {
            held.until = Timestamp::default().plus(lease);
        }
        Ok(())
    }
    async fn lead(&self, role: &str, owner: &str, _: Duration) -> Result<bool, StoreError> {
        let mut leaders = self.leaders.lock().unwrap();
        Ok(leaders.entry(role.to_owned()).or_insert_with(|| owner.to_owned()) == owner)
    }
    async fn resign(&self, role: &str, _: &str) -> Result<(), StoreError> {
        self.leaders.lock().unwrap().remove(role);
        Ok(())
    }
    async fn revive_signed_in(&self, _: Option<SweepPlace>, _: u32) -> Result<Revived, StoreError> {
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
    async fn withhold(
        &self,
        id: &DocumentId,
        spent: &str,
        _: &LastError,
    ) -> Result<bool, StoreError> {
        self.answers("withhold")?;
        self.hang().await;
        self.withheld.lock().unwrap().push((id.clone(), spent.to_owned()));
        Ok(!self.moved_on.load(Ordering::Relaxed))
    }
    async fn reactivate(
        &self,
        _id: &DocumentId,
        _queued: Duration,
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

/// Takes retries, but not the first few.
#[derive(Default)]
pub(crate) struct FakeQueue {
    pub(crate) failures: AtomicU32,
    /// A rung that takes no job.
    pub(crate) broken_rung: Option<Duration>,
    pub(crate) retried: AtomicU32,
    /// It never confirms a rescued answer.
    pub(crate) confirms_no_rescue: AtomicBool,
    /// Rescued answers that no consumer holds.
    pub(crate) rescued: Arc<Mutex<Vec<SealedAnswer>>>,
    pub(crate) buried: Mutex<Vec<DeadLetter>>,
}

#[async_trait]
impl JobQueue for FakeQueue {
    async fn retry(&self, _job: &Job, delay: Duration) -> Result<(), QueueError> {
        if Some(delay) == self.broken_rung {
            return Err(QueueError::Unconfirmed { operation: "retry", reason: "stuck".to_owned() });
        }
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
    async fn bury(&self, letter: &DeadLetter) -> Result<(), QueueError> {
        self.buried.lock().unwrap().push(letter.clone());
        Ok(())
    }
    async fn consume(
        &self,
        _provider: &ProviderId,
        _shards: Option<&[u16]>,
        _prefetch: u16,
    ) -> Result<Box<dyn Intake>, QueueError> {
        unreachable!()
    }
    async fn rescue(&self, answer: &SealedAnswer) -> Result<(), QueueError> {
        if self.confirms_no_rescue.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.rescued.lock().unwrap().push(answer.clone());
        Ok(())
    }
    async fn consume_rescues(&self, _: u16) -> Result<Box<dyn Intake>, QueueError> {
        Ok(Box::new(FakeIntake(self.rescued.clone())))
    }
    async fn dead_letters(&self, _: &ProviderId) -> Result<Box<dyn DeadLetters>, QueueError> {
        unreachable!()
    }
    async fn inspect(&self) -> Result<Vec<Finding>, QueueError> {
        unreachable!()
    }
}

/// Delivers what was rescued.
struct FakeIntake(Arc<Mutex<Vec<SealedAnswer>>>);

#[async_trait]
impl Intake for FakeIntake {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let answer = self.0.lock().unwrap().pop();
            if let Some(answer) = answer {
                let body = answer.encode();
                let acker = Box::new(RescueAcker { answer: Some(answer), queue: self.0.clone() });
                return Some(Delivery { body, redelivered: false, acker });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(&mut self) {}
}

/// Gives an answer back unless it is acknowledged.
struct RescueAcker {
    answer: Option<SealedAnswer>,
    queue: Arc<Mutex<Vec<SealedAnswer>>>,
}

#[async_trait]
impl Acker for RescueAcker {
    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        self.answer = None;
        Ok(())
    }
}

impl Drop for RescueAcker {
    fn drop(&mut self) {
        self.queue.lock().unwrap().extend(self.answer.take());
    }
}

/// A journal in memory; what is in it outlives whoever wrote it.
#[derive(Default)]
pub(crate) struct FakeJournal {
    pub(crate) entries: Mutex<BTreeMap<u64, Vec<u8>>>,
    /// The process that has died.
    pub(crate) died: Mutex<Option<&'static str>>,
    /// Its journal cannot be read.
    pub(crate) unreadable: AtomicBool,
    next: AtomicU32,
}

impl Journal for FakeJournal {
    fn append(&self, answer: &SealedAnswer) -> std::io::Result<Entry> {
        let entry = u64::from(self.next.fetch_add(1, Ordering::Relaxed));
        self.entries.lock().unwrap().insert(entry, answer.encode());
        Ok(Entry(entry))
    }

    fn forget(&self, entry: Entry) {
        self.entries.lock().unwrap().remove(&entry.0);
    }

    fn inherit(&self) -> std::io::Result<Vec<Left>> {
        let entries = self.entries.lock().unwrap();
        let left =
            |(&entry, line): (&u64, &Vec<u8>)| Left { entry: Entry(entry), line: line.clone() };
        Ok(entries.iter().map(left).collect())
    }

    fn hand_on(&self, entry: Entry) {
        self.forget(entry);
    }

    fn estate_of(&self, process: &str) -> Estate {
        match *self.died.lock().unwrap() == Some(process) {
            false => Estate::None,
            true if self.unreadable.load(Ordering::Relaxed) => Estate::Unreadable,
            true if self.entries.lock().unwrap().is_empty() => Estate::Settled,
            true => Estate::Open,
        }
    }
}

/// Counts requests and refreshes each.
#[derive(Default)]
pub(crate) struct FakeEndpoint {
    pub(crate) requests: AtomicU32,
    /// What it answers in place of tokens.
    pub(crate) body: Mutex<Option<&'static str>>,
}

#[async_trait]
impl TokenEndpoint for FakeEndpoint {
    async fn exchange(&self, _refresh_token: &SecretString) -> Exchange {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let tokens = r#"{"access_token":"a","refresh_token":"new"}"#;
        let body = self.body.lock().unwrap().unwrap_or(tokens).as_bytes().to_vec();
        Exchange::Answered(Answer { status: 200, retry_after_ms: None, body })
    }
}

/// Lets everything through.
struct OpenBudget;

#[async_trait]
impl Budget for OpenBudget {
    async fn acquire(&self) -> Permit {
        Permit::unwatched()
    }
    fn note(&self, _: &Signal) {}
    fn spacing(&self) -> Option<Duration> {
        None
    }
    fn evidence(&self) -> Evidence {
        Evidence { belief: Belief::ByShare, is_tripped: false, client_works: true }
    }
    fn shut_for(&self) -> Option<Duration> {
        None
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
    pub(crate) journal: Arc<FakeJournal>,
    pub(crate) acknowledged: Arc<AtomicU32>,
    /// What the machine's clocks show that go on while it is suspended.
    pub(crate) since_boot: Arc<Mutex<Duration>>,
}

/// A sealer whose key is this byte over and over.
pub(crate) fn sealer(byte: u8) -> Sealer {
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [byte; 32]);
    Sealer::new(Keys::new(&key.into(), &[]).unwrap())
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
        let since_boot = Arc::<Mutex<Duration>>::default();
        let clock = Arc::clone(&since_boot);
        let look = move || SteadyTime { since_boot: *clock.lock().unwrap(), wall: Duration::ZERO };
        let settings = WorkerSettings {
            clock: SteadyClock::new(look),
            ..WorkerSettings::of(&config.worker, "worker".to_owned())
        };
        let budget = Arc::new(OpenBudget);
        let metrics = WorkerMetrics::register(&Metrics::default(), Reports::default());
        let journal = Arc::new(FakeJournal::default());
        let nets = Nets {
            sealer: sealer(1),
            journal: Some(journal.clone()),
            after: Duration::from_secs(5),
            queue: queue.clone(),
            metrics: metrics.clone(),
            rescues: Rescues::default(),
        };
        let common = Common {
            store: store.clone(),
            queue: queue.clone(),
            turns: Turns::new(),
            nets: Some(Arc::new(nets)),
            settings: Arc::new(settings),
            metrics,
            health: Health::default(),
            stop: CancellationToken::new(),
        };
        let lane = Lane::new(ProviderDeps { provider, endpoint: endpoint.clone(), budget }, common);
        let acknowledged = Arc::default();
        Self { lane, store, queue, endpoint, journal, acknowledged, since_boot }
    }

    /// A job for a document.
    pub(crate) fn work(&self, id: i64) -> Work {
        let job = Job::new("p".parse().unwrap(), DocumentId::Integer(id), 0, Timestamp::default());
        let acker = Box::new(FakeAcker(self.acknowledged.clone()));
        Work { job, acker, redelivered: false, place: None }
    }

    /// Waits until all jobs are done with.
    pub(crate) async fn finish(&self) {
        self.lane.jobs.close();
        self.lane.jobs.wait().await;
    }

    /// A rescuer beside the lane, whose key is `byte` over and over.
    pub(crate) fn rescuer(&self, byte: u8) -> Arc<Rescuer> {
        let nets = self.lane.nets.as_deref().unwrap();
        let recovery = Recovery {
            nets: Arc::new(Nets {
                sealer: sealer(byte),
                journal: nets.journal.clone(),
                after: nets.after,
                queue: self.queue.clone(),
                metrics: nets.metrics.clone(),
                rescues: nets.rescues.clone(),
            }),
            store: self.store.clone(),
            name: "rescuer".to_owned(),
            providers: vec![self.lane.provider.clone()],
            stop: self.lane.stop.clone(),
            tasks: TaskTracker::new(),
        };
        Arc::new(Rescuer(Arc::new(recovery)))
    }

    pub(crate) fn requests(&self) -> u32 {
        self.endpoint.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}
