//! Starts processes, and restarts them when they have ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use evergrant_budget::{BudgetSettings, SharedBudget};
use evergrant_domain::ladder::Ladder;
use evergrant_domain::limit::RateLimit;
use evergrant_domain::schedule::{FirstRefresh, RefreshGoal, RefreshSchedule};
use evergrant_domain::weigh::WatchSettings;
use evergrant_domain::{DocumentFields, RefreshPolicy, SealedTokens};
use evergrant_provider::{
    ClientAuth, HttpSettings, Provider, RegisteredClient, RequestForm, TenantClients,
};
use evergrant_rescue::{AnswerJournal, AnswerSealer, SealingKeys};
use evergrant_runtime::process_reporter::ProcessReporter;
use evergrant_telemetry::{HealthChecks, ProcessMetrics};
use evergrant_worker::{SteadyClock, SteadyTime, WorkerEnd};
use secrecy::SecretString;
use tokio::time::Instant;

use super::budget::WatchedBudget;
use super::endpoint::SimulatedEndpoint;
use super::journal::HostJournal;
use super::plan::{Plan, RescueMeans};
use super::process::Process;
use super::queue::FaultyQueue;
use super::store::FaultyStore;
use super::world::World;
use super::{Fault, Sabotage};

const PERMIT_WAIT: Duration = Duration::from_secs(1);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than the wait for a permit and the longest request, with a margin for the commit.
const LEASE: Duration = Duration::from_secs(6);
/// How long a commit may fail before its answer goes to the rescue queue.
const RESCUE_AFTER: Duration = Duration::from_secs(1);
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Producer,
    Worker,
}

/// Starts all processes, and keeps them running.
pub(crate) fn start_all(world: &Arc<World>) {
    let producers = (1..=world.plan.producers).map(|number| (Kind::Producer, number));
    let workers = (1..=world.plan.workers).map(|number| (Kind::Worker, number));
    for (kind, number) in producers.chain(workers) {
        tokio::spawn(keep_going(Arc::clone(world), kind, number));
    }
}

async fn keep_going(world: Arc<World>, kind: Kind, number: usize) {
    for life in 0.. {
        let name = match kind {
            Kind::Producer => format!("producer-{number}.{life}"),
            Kind::Worker => format!("worker-{number}.{life}"),
        };
        let host = if world.plan.same_machine { 0 } else { number };
        let process = Process::start(&world, name, host);
        let mut task = tokio::spawn(run(kind, Arc::clone(&process)));
        tokio::select! {
            biased;
            () = process.ended.cancelled() => task.abort(),
            ended = &mut task => match ended {
                Ok(()) => finished(&process),
                Err(_) => world.violate(format!("{} panics", process.name)),
            },
        }
        let down = if world.is_calm() { Duration::ZERO } else { world.some_ms(0, 8_000) };
        tokio::time::sleep(down).await;
    }
}

/// Runs a process until it has ended as requested.
async fn run(kind: Kind, process: Arc<Process>) {
    let asked = process.asked_to_end.clone();
    match kind {
        Kind::Producer => evergrant_producer::run(producer(&process), asked.cancelled()).await,
        Kind::Worker => {
            let ended = evergrant_worker::run(worker(&process), asked.cancelled()).await;
            process.world.note(|| format!("{} has ended: {ended:?}", process.name));
            let unwritten = process.world.has_unwritten_answer(&process.name);
            if let (WorkerEnd::Cleanly, Some(token)) = (ended, unwritten) {
                let name = &process.name;
                process.world.violate(format!("{name} ends cleanly and has not written {token}"));
            }
        }
    }
}

fn finished(process: &Process) {
    let world = &process.world;
    if !process.asked_to_end.is_cancelled() {
        world.violate(format!("{} has ended by itself", process.name));
    }
    world.reached(Fault::Restart);
    process.end();
}

fn producer(process: &Arc<Process>) -> evergrant_producer::ProducerDeps {
    let store = Arc::new(FaultyStore(Arc::clone(process)));
    evergrant_producer::ProducerDeps {
        store: store.clone(),
        election: store,
        queue: Arc::new(FaultyQueue(Arc::clone(process))),
        providers: process.world.provider_ids(),
        name: process.name.clone(),
        settings: evergrant_producer::ProducerSettings {
            leader_lease: Duration::from_secs(3),
            sweep_interval: Duration::from_secs(5),
            interval: Duration::from_secs(1),
            max_queued: 100,
            window: 4,
            queued_for: Duration::from_secs(15),
        },
        metrics: ProcessMetrics::default(),
        health: HealthChecks::default(),
        reports: ProcessReporter::default(),
    }
}

fn worker(process: &Arc<Process>) -> evergrant_worker::WorkerDeps {
    let world = &process.world;
    let store = Arc::new(FaultyStore(Arc::clone(process)));
    let lane = |provider: &Arc<Provider>| evergrant_worker::ProviderDeps {
        provider: Arc::clone(provider),
        endpoint: Arc::new(SimulatedEndpoint {
            process: Arc::clone(process),
            provider: Arc::clone(provider),
        }),
        budget: Arc::new(WatchedBudget {
            process: Arc::clone(process),
            budget: Arc::new(SharedBudget::start(
                store.clone(),
                BudgetSettings {
                    provider: provider.id.clone(),
                    limits: provider.limits.clone(),
                    client: client(process),
                    metrics: ProcessMetrics::default(),
                },
            )),
        }),
    };
    evergrant_worker::WorkerDeps {
        providers: world.providers.iter().map(lane).collect(),
        store: store.clone(),
        election: store,
        queue: Arc::new(FaultyQueue(Arc::clone(process))),
        rescue: rescue(process),
        name: process.name.clone(),
        clock: clock(process),
        settings: evergrant_worker::WorkerSettings {
            exchanges_in_flight: 4,
            batch: 4,
            permit_wait: PERMIT_WAIT,
            lease: LEASE,
            shards: None,
            shutdown_grace: SHUTDOWN_GRACE,
        },
        metrics: ProcessMetrics::default(),
        health: HealthChecks::default(),
        reports: ProcessReporter::default(),
    }
}

/// The fingerprint of a worker's client settings.
fn client(process: &Process) -> String {
    if process.world.plan.two_clients && is_odd(process) {
        process.world.reached(Fault::TwoClients);
        return "another client".to_owned();
    }
    "client".to_owned()
}

/// Whether its number is odd.
fn is_odd(process: &Process) -> bool {
    let number = process.name.trim_start_matches("worker-").split('.').next();
    number.is_some_and(|number| number.ends_with(['1', '3', '5', '7', '9']))
}

/// A clock that advances while the machine is suspended.
fn clock(process: &Arc<Process>) -> SteadyClock {
    let (process, started) = (Arc::downgrade(process), Instant::now());
    SteadyClock::new(move || {
        let process = process.upgrade();
        let believed =
            |process: &Arc<Process>| !process.world.is_broken_by(Sabotage::FrozenClockBelieved);
        let suspended = process.filter(believed).map(|process| process.suspended());
        let since_boot = started.elapsed() + suspended.unwrap_or_default();
        SteadyTime { since_boot, wall: Duration::ZERO }
    })
}

fn rescue(process: &Arc<Process>) -> Option<evergrant_worker::RescueDeps> {
    let rescue_means = process.world.plan.rescue_means;
    let journal = || Arc::new(HostJournal::open(process)) as Arc<dyn AnswerJournal>;
    (rescue_means != RescueMeans::None).then(|| evergrant_worker::RescueDeps {
        sealer: sealer(process),
        journal: (rescue_means == RescueMeans::Both).then(journal),
        after: RESCUE_AFTER,
    })
}

/// The names of providers. The first is the default.
const NAMES: [&str; 2] = ["p", "q"];

/// The providers as Evergrant knows them, with short intervals for a short run.
pub(crate) fn providers(plan: &Plan, sabotage: Option<Sabotage>) -> Vec<Arc<Provider>> {
    let limits = [plan.limit, None];
    let each = NAMES.into_iter().zip(limits).take(plan.providers);
    each.map(|(name, limit)| Arc::new(provider(name, limit, plan, sabotage))).collect()
}

fn provider(
    name: &str,
    limit: Option<RateLimit>,
    plan: &Plan,
    sabotage: Option<Sabotage>,
) -> Provider {
    let is_skipped = sabotage == Some(Sabotage::SecondLookSkipped);
    let death_recheck = if is_skipped { Duration::ZERO } else { plan.death_recheck };
    let rungs = [200, 1_000, 3_000, 8_000].map(Duration::from_millis).to_vec();
    Provider {
        id: name.parse().expect("a name"),
        token_url: url::Url::parse("http://localhost/token").expect("a URL").into(),
        revocation_url: None,
        fields: BTreeMap::new(),
        field_defaults: DocumentFields::new(),
        client: Some(RegisteredClient {
            id: "evergrant".to_owned(),
            secret: Some("secret".into()),
        }),
        tenants: TenantClients::default(),
        client_auth: ClientAuth::Basic,
        client_key: None,
        client_certificate: None,
        request: RequestForm::default(),
        scope: None,
        request_timeout: REQUEST_TIMEOUT,
        http: HttpSettings::default(),
        limits: limit.into_iter().collect(),
        assumed: Vec::new(),
        dialect: evergrant_domain::classify::Dialect::default(),
        policy: RefreshPolicy {
            schedule: RefreshSchedule {
                keep: if plan.end.is_some() {
                    RefreshGoal::KeepAlive
                } else {
                    RefreshGoal::KeepFresh
                },
                access_lifetime: Duration::from_secs(plan.access_token_s),
                access_is_assumed: false,
                refresh_idle_lifetime: Some(Duration::from_secs(plan.access_token_s)),
                refresh_absolute_lifetime: plan.end.map(|end| Duration::from_secs(end.lifetime_s)),
                refresh_after_percent: 50,
                jitter_percent: 20,
                adopt: FirstRefresh::Spread,
            },
            ladder: Ladder::new(rungs).expect("a ladder"),
            max_attempts: 6,
            max_pause: Duration::from_secs(20),
            sealed_tokens: SealedTokens::default(),
        },
        watch: WatchSettings {
            death_recheck,
            mass_death_min: 4,
            window: Duration::from_secs(120),
            ..WatchSettings::default()
        },
    }
}

/// The key of a worker.
pub(crate) fn sealer(process: &Process) -> AnswerSealer {
    let key = if process.world.plan.two_keys && is_odd(process) { OTHER_KEY } else { KEY };
    AnswerSealer::new(SealingKeys::new(&text(key), &[]).expect("a key"))
}

/// The keys of all workers.
pub(crate) fn sealer_of_all() -> AnswerSealer {
    AnswerSealer::new(SealingKeys::new(&text(KEY), &[text(OTHER_KEY)]).expect("keys"))
}

const KEY: [u8; 32] = [7; 32];
const OTHER_KEY: [u8; 32] = [9; 32];

fn text(key: [u8; 32]) -> SecretString {
    STANDARD.encode(key).into()
}
