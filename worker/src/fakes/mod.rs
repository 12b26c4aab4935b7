//! Fakes of the store, the queue, the provider and deliveries, for tests on paused time.

mod journal;
mod queue;
mod store;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use evergrant_budget::{Budget, Permit};
use evergrant_domain::classify::{ExchangeResult, HttpAnswer};
use evergrant_domain::weigh::{DeathBelief, DeathEvidence};
use evergrant_domain::{BudgetSignal, DocumentFields, DocumentId, Job, Timestamp};
use evergrant_provider::TokenEndpoint;
use evergrant_rescue::{AnswerSealer, SealingKeys};
use evergrant_runtime::config::Config;
use evergrant_runtime::process_reporter::ProcessReporter;
use evergrant_telemetry::{HealthChecks, ProcessMetrics};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::journal::FakeJournal;
use self::queue::FakeAcker;
pub(crate) use self::queue::FakeQueue;
pub(crate) use self::store::FakeStore;
use crate::flow::steady_clock::{SteadyClock, SteadyTime};
use crate::flow::store_limiter::StoreLimiter;
use crate::lane::{Lane, LaneContext};
use crate::metrics::WorkerMetrics;
use crate::pipeline::job_delivery::JobDelivery;
use crate::recovery::answer_log::AnswerLog;
use crate::recovery::answer_recovery::AnswerRecovery;
use crate::recovery::orphaned_answer::AnswerCommits;
use crate::recovery::recovered_answers::RecoveredAnswers;
use crate::{ProviderDeps, WorkerSettings};

/// Fakes whose store fails for this time, from the first write on.
pub(crate) fn away_for(away_for: Duration) -> Fakes {
    let away_for = away_for.into();
    Fakes::new(FakeStore { away_for, ..FakeStore::default() }, FakeQueue::default())
}

/// Waits until the condition holds.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Counts requests and refreshes each.
#[derive(Default)]
pub(crate) struct FakeEndpoint {
    pub(crate) requests: AtomicU32,
    /// The body it answers with instead of tokens.
    pub(crate) body: Mutex<Option<&'static str>>,
}

#[async_trait]
impl TokenEndpoint for FakeEndpoint {
    async fn exchange(&self, _: &SecretString, _: &DocumentFields) -> ExchangeResult {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let tokens = r#"{"access_token":"a","refresh_token":"new"}"#;
        let body = self.body.lock().unwrap().unwrap_or(tokens).as_bytes().to_vec();
        ExchangeResult::Answered(HttpAnswer { status: 200, retry_after_ms: None, body })
    }
}

/// A budget that admits every request.
struct OpenBudget;

#[async_trait]
impl Budget for OpenBudget {
    async fn acquire(&self) -> Permit {
        Permit::unwatched()
    }
    fn note(&self, _: &BudgetSignal) {}
    fn spacing(&self) -> Option<Duration> {
        None
    }
    fn evidence(&self) -> DeathEvidence {
        DeathEvidence { belief: DeathBelief::ByShare, is_tripped: false, client_works: true }
    }
    fn shut_for(&self) -> Option<Duration> {
        None
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
    /// The reading of the machine's clocks that run on while it is suspended.
    pub(crate) since_boot: Arc<Mutex<Duration>>,
}

/// A sealer whose key repeats this byte.
pub(crate) fn sealer(byte: u8) -> AnswerSealer {
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [byte; 32]);
    AnswerSealer::new(SealingKeys::new(&key.into(), &[]).unwrap())
}

impl Fakes {
    pub(crate) fn new(store: FakeStore, queue: FakeQueue) -> Self {
        Self::of_section(&[("TOKEN_URL", "http://localhost/token")], store, queue)
    }

    /// Fakes with these settings of the provider.
    pub(crate) fn of_section(section: &[(&str, &str)], store: FakeStore, queue: FakeQueue) -> Self {
        let variables = [("CLIENT_ID", "c"), ("CLIENT_SECRET", "s"), ("LIMITS", "[]")];
        let variables = variables.iter().chain(section).map(|(name, value)| {
            (format!("EVERGRANT_PROVIDERS__P__{name}").into(), (*value).into())
        });
        let config = Config::from_parts(None, variables, &[]).unwrap();
        let provider = Arc::new(config.providers().unwrap().remove(0));
        let (store, queue) = (Arc::new(store), Arc::new(queue));
        let endpoint = Arc::new(FakeEndpoint::default());
        let since_boot = Arc::<Mutex<Duration>>::default();
        let clock = Arc::clone(&since_boot);
        let look = move || SteadyTime { since_boot: *clock.lock().unwrap(), wall: Duration::ZERO };
        let settings: WorkerSettings = config.section().unwrap();
        let budget = Arc::new(OpenBudget);
        let metrics =
            WorkerMetrics::register(&ProcessMetrics::default(), ProcessReporter::default());
        let journal = Arc::new(FakeJournal::default());
        let answer_log = AnswerLog {
            sealer: sealer(1),
            journal: Some(journal.clone()),
            after: Duration::from_secs(5),
            queue: queue.clone(),
            metrics: metrics.clone(),
            recovered: RecoveredAnswers::default(),
        };
        let common = LaneContext {
            name: "worker".to_owned(),
            clock: SteadyClock::new(look),
            store: store.clone(),
            election: store.clone(),
            queue: queue.clone(),
            store_limiter: StoreLimiter::new(),
            answer_log: Some(Arc::new(answer_log)),
            settings: Arc::new(settings),
            metrics,
            health: HealthChecks::default(),
            stop: CancellationToken::new(),
        };
        let lane = Lane::new(ProviderDeps { provider, endpoint: endpoint.clone(), budget }, common);
        let acknowledged = Arc::default();
        Self { lane, store, queue, endpoint, journal, acknowledged, since_boot }
    }

    /// A job for a document.
    pub(crate) fn work(&self, id: i64) -> JobDelivery {
        let job = Job::new("p".parse().unwrap(), DocumentId::Integer(id), 0, Timestamp::default());
        let acker = Box::new(FakeAcker(self.acknowledged.clone()));
        JobDelivery { job, acker, redelivered: false, on_demand: false, flow_permit: None }
    }

    /// Waits until all jobs are finished.
    pub(crate) async fn finish(&self) {
        self.lane.jobs.close();
        self.lane.jobs.wait().await;
    }

    /// An answer recovery beside the lane. Its key repeats `byte`.
    pub(crate) fn recovery_of(&self, byte: u8) -> Arc<AnswerRecovery> {
        let answer_log = self.lane.answer_log.as_deref().unwrap();
        let recovery = AnswerCommits {
            answer_log: Arc::new(AnswerLog {
                sealer: sealer(byte),
                journal: answer_log.journal.clone(),
                after: answer_log.after,
                queue: self.queue.clone(),
                metrics: answer_log.metrics.clone(),
                recovered: answer_log.recovered.clone(),
            }),
            store: self.store.clone(),
            name: "rescuer".to_owned(),
            providers: vec![self.lane.provider.clone()],
            stop: self.lane.stop.clone(),
            tasks: TaskTracker::new(),
        };
        Arc::new(AnswerRecovery::new(recovery, self.lane.store_limiter.clone()))
    }

    pub(crate) fn requests(&self) -> u32 {
        self.endpoint.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}
