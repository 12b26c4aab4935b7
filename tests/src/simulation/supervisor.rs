//! Starts processes, and starts them again when they have ended.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use evergrant_shared::budget::{BudgetSettings, SharedBudget};
use evergrant_shared::domain::Policy;
use evergrant_shared::domain::ladder::Ladder;
use evergrant_shared::domain::schedule::{Keep, Schedule};
use evergrant_shared::domain::weigh::WatchSettings;
use evergrant_shared::provider::{ClientAuth, Provider};
use evergrant_shared::reports::Reports;
use evergrant_shared::rescue::{Journal, Keys, Sealer};
use evergrant_shared::telemetry::{Health, Metrics};
use evergrant_worker::Ended;

use super::budget::WatchedBudget;
use super::endpoint::SimulatedEndpoint;
use super::journal::HostJournal;
use super::plan::{Nets, Plan};
use super::process::Process;
use super::queue::FaultyQueue;
use super::store::FaultyStore;
use super::world::World;

const PERMIT_WAIT: Duration = Duration::from_secs(1);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Outlives the wait for a permit and the longest request, with a margin for the commit.
const LEASE: Duration = Duration::from_secs(6);
/// How long a commit may fail before its answer goes to the rescue queue.
const RESCUE_AFTER: Duration = Duration::from_secs(1);
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Producer,
    Worker,
}

/// Starts all processes, and keeps them going.
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
        let host = if world.plan.one_machine { 0 } else { number };
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

/// Runs a process until it has ended as it was asked to.
async fn run(kind: Kind, process: Arc<Process>) {
    let asked = process.asked_to_end.clone();
    match kind {
        Kind::Producer => evergrant_producer::run(producer(&process), asked.cancelled()).await,
        Kind::Worker => {
            let ended = evergrant_worker::run(worker(&process), asked.cancelled()).await;
            process.world.note(|| format!("{} has ended: {ended:?}", process.name));
            let unwritten = process.world.has_unwritten_answer(&process.name);
            if let (Ended::Cleanly, Some(token)) = (ended, unwritten) {
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
    world.with(|state| state.figures.restarts += 1);
    process.end();
}

fn producer(process: &Arc<Process>) -> evergrant_producer::Deps {
    evergrant_producer::Deps {
        store: Arc::new(FaultyStore(Arc::clone(process))),
        queue: Arc::new(FaultyQueue(Arc::clone(process))),
        providers: vec![process.world.provider_id().clone()],
        settings: evergrant_producer::ProducerSettings {
            name: process.name.clone(),
            leader_lease: Duration::from_secs(3),
            sweep_interval: Duration::from_secs(5),
            interval: Duration::from_secs(1),
            max_queued: 100,
            window: 4,
            queued_for: Duration::from_secs(15),
        },
        metrics: Metrics::default(),
        health: Health::default(),
        reports: Reports::default(),
    }
}

fn worker(process: &Arc<Process>) -> evergrant_worker::Deps {
    let world = &process.world;
    let provider = evergrant_worker::ProviderDeps {
        provider: Arc::clone(&world.provider),
        endpoint: Arc::new(SimulatedEndpoint(Arc::clone(process))),
        budget: Arc::new(WatchedBudget {
            process: Arc::clone(process),
            budget: Arc::new(SharedBudget::start(
                Arc::new(FaultyStore(Arc::clone(process))),
                BudgetSettings {
                    provider: world.provider.id.clone(),
                    limits: world.provider.limits.clone(),
                    client: "client".to_owned(),
                    metrics: Metrics::default(),
                },
            )),
        }),
    };
    evergrant_worker::Deps {
        store: Arc::new(FaultyStore(Arc::clone(process))),
        queue: Arc::new(FaultyQueue(Arc::clone(process))),
        providers: vec![provider],
        rescue: rescue(process),
        settings: evergrant_worker::WorkerSettings {
            clock: evergrant_worker::SteadyClock::default(),
            name: process.name.clone(),
            exchanges_in_flight: 4,
            batch: 4,
            permit_wait: PERMIT_WAIT,
            lease: LEASE,
            shards: None,
            shutdown_grace: SHUTDOWN_GRACE,
        },
        metrics: Metrics::default(),
        health: Health::default(),
        reports: Reports::default(),
    }
}

fn rescue(process: &Arc<Process>) -> Option<evergrant_worker::RescueDeps> {
    let nets = process.world.plan.nets;
    let journal = || Arc::new(HostJournal::open(process)) as Arc<dyn Journal>;
    (nets != Nets::None).then(|| evergrant_worker::RescueDeps {
        sealer: process.world.sealer.clone(),
        journal: (nets == Nets::Both).then(journal),
        after: RESCUE_AFTER,
    })
}

/// The provider as Evergrant knows it, with everything fast enough for a short history.
pub(crate) fn provider(plan: &Plan) -> Provider {
    let rungs = [200, 1_000, 3_000, 8_000].map(Duration::from_millis).to_vec();
    Provider {
        id: "p".parse().expect("a name"),
        token_url: "http://localhost/token".parse().expect("a URL"),
        client_id: "evergrant".to_owned(),
        client_secret: "secret".into(),
        client_auth: ClientAuth::Basic,
        scope: None,
        request_timeout: REQUEST_TIMEOUT,
        limits: plan.limit.into_iter().collect(),
        dialect: evergrant_shared::domain::classify::Dialect::default(),
        policy: Policy {
            schedule: Schedule {
                keep: Keep::KeepFresh,
                access_lifetime: Duration::from_secs(plan.access_token_s),
                refresh_idle_lifetime: None,
                refresh_absolute_lifetime: None,
                refresh_after_percent: 50,
                jitter_percent: 20,
            },
            ladder: Ladder::new(rungs).expect("a ladder"),
            max_attempts: 6,
            max_pause: Duration::from_secs(20),
        },
        watch: WatchSettings::default(),
    }
}

/// The key of all workers.
pub(crate) fn sealer() -> Sealer {
    let key = STANDARD.encode([7; 32]).into();
    Sealer::new(Keys::new(&key, &[]).expect("a key"))
}
