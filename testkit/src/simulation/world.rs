//! The shared state: time, randomness, the store, the broker, the provider, the trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evergrant_document::adoption::AdoptionRules;
use evergrant_domain::{DocumentId, ProviderId, Timestamp};
use evergrant_memory::{MemoryBroker, MemoryClock, MemoryQueueSettings, MemoryStore};
use evergrant_ports::{ImportDocument, TransferStore};
use evergrant_provider::Provider;
use evergrant_rescue::AnswerSealer;
use evergrant_simulator::{
    RuntimeClock, SeedPlan, SimulatorConfig, SimulatorHandle, SimulatorSettings,
};
use fastrand::Rng;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bounds::Bounds;
use super::budget::SentRequests;
use super::copies::Copies;
use super::heed::ProviderNotices;
use super::journal::Disks;
use super::plan::Plan;
use super::process::Process;
use super::settled::JobHistory;
use super::storm::Storm;
use super::tokens::Tokens;
use super::{EventTally, Fault, Figures, SeedOptions, SeedResult, supervisor};

/// When the simulated time begins.
const START_MS: u64 = 1_700_000_000_000;
const TRACE_MAX: usize = 200_000;

/// The shared state.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) options: SeedOptions,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) broker: MemoryBroker,
    /// The ledger of all providers.
    pub(crate) oauth: SimulatorHandle,
    /// The providers as Evergrant knows them. The first is the default.
    pub(crate) providers: Vec<Arc<Provider>>,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Opens the answers of all workers.
    pub(crate) sealer: AnswerSealer,
    /// The journals of each machine.
    pub(crate) disks: Disks,
    /// Cancelled when an invariant was violated.
    pub(crate) over: CancellationToken,
    clock: MemoryClock,
    started: Instant,
    calm: AtomicBool,
    state: Mutex<State>,
}

/// The mutable state.
pub(crate) struct State {
    pub(crate) rng: Rng,
    pub(crate) figures: Figures,
    pub(crate) reached: EventTally,
    pub(crate) excuses: EventTally,
    pub(crate) tokens: Tokens,
    pub(crate) settled: JobHistory,
    pub(crate) bounds: Bounds,
    pub(crate) told: ProviderNotices,
    pub(crate) copies: Copies,
    /// The living processes.
    pub(crate) alive: BTreeMap<String, Arc<Process>>,
    /// When each of the others died.
    pub(crate) died_at: BTreeMap<String, Instant>,
    pub(crate) store_away_until: Option<Instant>,
    pub(crate) storm: Option<Storm>,
    pub(crate) broker_away_until: Option<Instant>,
    /// When the calm began, by the store's clock.
    pub(crate) calm_since: Option<Timestamp>,
    /// When each process sent its requests.
    pub(crate) spent: SentRequests,
    /// The user of each document.
    pub(crate) users: BTreeMap<DocumentId, String>,
    /// Documents of which the broker has lost a job. No other job is published for a document that
    /// has ended.
    pub(crate) jobs_lost: BTreeSet<DocumentId>,
    /// The provider of each document.
    pub(crate) provider_of: BTreeMap<DocumentId, ProviderId>,
    /// What the application last wrote into each document beside the tokens.
    pub(crate) notes: BTreeMap<DocumentId, String>,
    trace: Vec<String>,
    violation: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, options: SeedOptions) -> Arc<Self> {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let clock = MemoryClock::starting_at(Timestamp::from_unix_ms(START_MS as i64));
        let providers = supervisor::providers(&plan, options.sabotage);
        let default = &providers[0];
        let oauth = SimulatorHandle::without_server(oauth_config(seed, &plan), {
            Arc::new(RuntimeClock::at_ms(START_MS))
        });
        let queues = MemoryQueueSettings {
            providers: providers.iter().map(|provider| provider.id.clone()).collect(),
            shards: 2,
            ladder: default.policy.ladder.clone(),
        };
        let rules = AdoptionRules {
            sections: queues.providers.iter().cloned().collect(),
            default_provider: Some(default.id.clone()),
            ..AdoptionRules::default()
        };
        let state = State {
            rng,
            figures: Figures::default(),
            reached: EventTally::default(),
            excuses: EventTally::default(),
            tokens: Tokens::default(),
            settled: JobHistory::default(),
            bounds: Bounds::default(),
            told: ProviderNotices::default(),
            copies: Copies::default(),
            alive: BTreeMap::new(),
            died_at: BTreeMap::new(),
            jobs_lost: BTreeSet::new(),
            store_away_until: None,
            storm: None,
            broker_away_until: None,
            calm_since: None,
            spent: SentRequests::default(),
            users: BTreeMap::new(),
            provider_of: BTreeMap::new(),
            notes: BTreeMap::new(),
            trace: Vec::new(),
            violation: None,
        };
        let world = Arc::new(Self {
            store: Arc::new(MemoryStore::with_rules(clock, rules)),
            broker: MemoryBroker::new(queues, clock),
            oauth: oauth.expect("settings of a provider"),
            providers,
            runtime: tokio::runtime::Handle::current(),
            sealer: supervisor::sealer_of_all(),
            disks: Disks::default(),
            over: CancellationToken::new(),
            clock,
            started: Instant::now(),
            calm: AtomicBool::new(false),
            state: Mutex::new(state),
            plan,
            options,
        });
        world.note(|| format!("{:#?}", world.plan));
        world
    }

    /// Signs the users in and stores their documents.
    pub(crate) async fn populate(&self) {
        let plan = SeedPlan { count: self.plan.grants, ..SeedPlan::default() };
        let seeds: Vec<_> = self.oauth.seed(plan).expect("a plan").collect();
        let mut documents = Vec::new();
        for (seed, number) in seeds.into_iter().zip(1..) {
            let id = DocumentId::Integer(number);
            let Ok(Value::Object(mut json)) = serde_json::to_value(&seed) else { continue };
            json.insert("_id".to_owned(), id.clone().into());
            let note = format!("note-{number}");
            json.insert("note".to_owned(), note.clone().into());
            let provider = &self.providers[number as usize % self.providers.len()].id;
            if *provider != self.providers[0].id {
                // The others belong to the default one.
                let own = serde_json::json!({ "provider": provider.as_str() });
                json.insert("evergrant".to_owned(), own);
                self.reached(Fault::SecondProvider);
            }
            if self.is_without_token(&id) {
                json.remove("refresh_token");
            }
            self.with(|state| {
                state.copies.keep(&id, &json);
                if let Some(token) = json.get("refresh_token").and_then(Value::as_str) {
                    state.tokens.signed_in(token, &id);
                }
                state.notes.insert(id.clone(), note);
                state.provider_of.insert(id.clone(), provider.clone());
                state.users.insert(id, seed.user_id);
                state.figures.grants += 1;
            });
            documents.push(ImportDocument(json));
        }
        if let Some(end) = self.plan.end {
            self.reached(if end.is_true { Fault::EndTrue } else { Fault::EndUntrue });
        }
        // It cannot fail, because each is a document.
        let _ = self.store.import(documents).await;
    }

    /// Runs `act` with the mutable state locked. Must not be nested.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The names of the providers in jobs and documents.
    pub(crate) fn provider_ids(&self) -> Vec<ProviderId> {
        self.providers.iter().map(|provider| provider.id.clone()).collect()
    }

    /// The store's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Draws whether an event with this rate occurs. Never during the calm.
    pub(crate) fn chance(&self, rate: f64) -> bool {
        rate > 0.0 && !self.is_calm() && self.with(|state| state.rng.f64() < rate)
    }

    /// A time from `least` to `most` milliseconds.
    pub(crate) fn some_ms(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.with(|state| state.rng.u64(least..=most)))
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: usize) -> usize {
        self.with(|state| state.rng.usize(..bound.max(1)))
    }

    /// Whether the calm has lasted for this long.
    pub(crate) fn is_calm_for(&self, span: Duration) -> bool {
        let since = self.with(|state| state.calm_since);
        since.is_some_and(|since| self.now().since(since) >= span)
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Begins the calm: no more faults.
    pub(crate) fn become_calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
        let quiet = self.oauth.change(|settings| settings.faults = Default::default());
        quiet.expect("settings of a provider");
        let now = self.now();
        self.with(|state| {
            state.store_away_until = None;
            state.storm = None;
            state.broker_away_until = None;
            state.calm_since = Some(now);
        });
        self.note(|| "calm".to_owned());
    }

    /// Records an event.
    pub(crate) fn note(&self, event: impl FnOnce() -> String) {
        if !self.options.trace {
            return;
        }
        let line = format!("{:>9} {}", self.started.elapsed().as_millis(), event());
        self.with(|state| {
            if state.trace.len() < TRACE_MAX {
                state.trace.push(line);
            }
        });
    }

    /// Reports a violation. The first one ends the run.
    pub(crate) fn violate(&self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        let at_ms = self.started.elapsed().as_millis();
        self.with(|state| {
            state.violation.get_or_insert_with(|| format!("at {at_ms} ms: {what}"));
        });
        self.over.cancel();
    }

    /// The result of the run.
    pub(crate) fn end(&self, seed: u64) -> SeedResult {
        let stats = self.oauth.stats();
        let virtual_seconds = self.started.elapsed().as_secs();
        // Each of them holds a reference to this world.
        let alive = self.with(|state| std::mem::take(&mut state.alive));
        drop(alive);
        self.with(|state| SeedResult {
            seed,
            reached: {
                let mut reached = std::mem::take(&mut state.reached);
                reached += &EventTally(stats.faults.clone());
                reached
            },
            excuses: std::mem::take(&mut state.excuses),
            violation: state.violation.clone(),
            figures: Figures {
                virtual_seconds,
                requests: stats.requests,
                exchanges: stats.exchanges,
                reused: stats.reused,
                ..state.figures
            },
            trace: std::mem::take(&mut state.trace),
        })
    }
}

fn oauth_config(seed: u64, plan: &Plan) -> SimulatorConfig {
    let settings = SimulatorSettings {
        grace_s: plan.grace_s,
        access_token_s: plan.access_token_s,
        latency_ms: plan.latency_ms,
        latency_spread_ms: plan.latency_ms / 2,
        refresh_absolute_s: plan.end.filter(|end| end.is_true).map(|end| end.lifetime_s),
        faults: plan.provider,
        ..SimulatorSettings::default()
    };
    SimulatorConfig { seed, settings, ..SimulatorConfig::default() }
}
