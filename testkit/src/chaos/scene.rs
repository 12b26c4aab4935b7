//! Servers for faults, and a deployment on them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evergrant_simulator::{SeedPlan, SimulatorConfig, SimulatorSettings};

use super::plan::{OutageKind, OutageTarget, ServerOutage};
use crate::dedicated::DedicatedServer;
use crate::deployment::TestDeployment;
use crate::fault_proxy::FaultProxy;

/// The provider's latency, and the requests under way.
#[derive(Debug, Clone, Copy)]
pub struct ProviderPace {
    /// The mean latency; it varies by a half in either direction.
    pub latency_ms: u64,
    /// The most requests of one worker under way.
    pub in_flight: u64,
}

/// Longer than the provider takes, with a margin for a busy machine.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

impl ProviderPace {
    /// A provider that rotates strictly, with or without a grace.
    pub fn provider(&self, grace_s: u64) -> SimulatorConfig {
        let Self { latency_ms, .. } = *self;
        let latency_spread_ms = latency_ms / 2;
        let settings = SimulatorSettings {
            grace_s,
            latency_ms,
            latency_spread_ms,
            ..SimulatorSettings::default()
        };
        SimulatorConfig { settings, ..SimulatorConfig::default() }
    }

    /// The longest duration of a request at the provider.
    pub fn longest_request(&self) -> Duration {
        Duration::from_millis(self.latency_ms + self.latency_ms / 2)
    }
}

/// A deployment with its own servers. Workers have their own proxies to them.
pub struct ChaosScene {
    /// Evergrant and the provider.
    pub evergrant: TestDeployment,
    /// The broker, if it is a single one.
    broker: Option<DedicatedServer>,
    database: DedicatedServer,
    broker_way: FaultProxy,
    database_way: FaultProxy,
    /// The proxy to the broker for all programs except the workers. It is never cut; a cluster has
    /// a single address only through a proxy.
    _rest: FaultProxy,
    grants: AtomicU64,
    /// See [`ProviderPace`].
    pub pace: ProviderPace,
}

/// The shortest lease that outlives a permit, a request and the commit.
pub const LEASE: Duration = Duration::from_secs(11);

impl ChaosScene {
    /// Its own broker and database, and this many due grants.
    ///
    /// # Panics
    /// If a server does not start.
    pub async fn set_up(
        image_variable: &str,
        grants: u32,
        grace_s: u64,
        pace: ProviderPace,
    ) -> Self {
        let (broker, database) =
            tokio::join!(DedicatedServer::broker(image_variable), DedicatedServer::database());
        let urls = [broker.url()];
        Self::on(&urls, Some(broker), database, grants, grace_s, pace).await
    }

    /// As [`Self::set_up`], with a broker of several nodes.
    ///
    /// # Panics
    /// If a server does not start.
    pub async fn on_cluster(
        nodes: &[String],
        grants: u32,
        grace_s: u64,
        pace: ProviderPace,
    ) -> Self {
        Self::on(nodes, None, DedicatedServer::database().await, grants, grace_s, pace).await
    }

    async fn on(
        nodes: &[String],
        broker: Option<DedicatedServer>,
        database: DedicatedServer,
        grants: u32,
        grace_s: u64,
        pace: ProviderPace,
    ) -> Self {
        let (broker_way, rest) = (FaultProxy::balancing(nodes), FaultProxy::balancing(nodes));
        let database_way = FaultProxy::to(&database.url());
        let provider = pace.provider(grace_s);
        let mut evergrant = TestDeployment::new(rest.url(), &database.url(), provider).await;
        settings(&mut evergrant, pace);
        let scene = Self {
            evergrant,
            broker,
            database,
            broker_way,
            database_way,
            _rest: rest,
            grants: AtomicU64::new(0),
            pace,
        };
        scene.add_grants(grants).await;
        scene
    }

    /// Signs this many users in; their grants are due.
    ///
    /// # Panics
    /// If the store does not accept them.
    pub async fn add_grants(&self, count: u32) {
        let file = self.evergrant.seed_file(SeedPlan { count, ..SeedPlan::default() });
        let import = self.evergrant.evergrant(&["import", &file]).await;
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        self.grants.fetch_add(u64::from(count), Ordering::Relaxed);
    }

    /// How many grants there are.
    pub fn grants(&self) -> u64 {
        self.grants.load(Ordering::Relaxed)
    }

    /// The variables of workers: their proxies to the servers.
    pub(crate) fn ways(&self) -> [(&str, &str); 2] {
        [("QUEUE__URL", self.broker_way.url()), ("STORE__URL", self.database_way.url())]
    }

    /// How many tokens the provider has exchanged.
    pub fn exchanges(&self) -> u64 {
        self.evergrant.simulator.stats().exchanges
    }

    /// The server.
    ///
    /// # Panics
    /// If the broker is a cluster.
    pub fn server(&self, target: OutageTarget) -> &DedicatedServer {
        match target {
            OutageTarget::Broker => self.broker.as_ref().expect("a single broker"),
            OutageTarget::Database => &self.database,
        }
    }

    fn way(&self, target: OutageTarget) -> &FaultProxy {
        match target {
            OutageTarget::Broker => &self.broker_way,
            OutageTarget::Database => &self.database_way,
        }
    }

    /// Begins an outage.
    pub(crate) async fn begin(&self, outage: &ServerOutage) {
        match outage.how {
            OutageKind::Killed => self.server(outage.target).kill().await,
            OutageKind::Paused => self.server(outage.target).pause().await,
            OutageKind::CutOff | OutageKind::Delayed => self.way(outage.target).swallow(),
        }
    }

    /// Ends an outage. The server answers when this returns.
    pub(crate) async fn end(&self, outage: &ServerOutage) {
        match outage.how {
            OutageKind::Killed => self.server(outage.target).start().await,
            OutageKind::Paused => {
                self.server(outage.target).unpause().await;
                self.server(outage.target).wait_until_it_answers().await;
            }
            OutageKind::CutOff => {
                self.way(outage.target).cut();
                self.way(outage.target).open();
            }
            OutageKind::Delayed => self.way(outage.target).open(),
        }
    }
}

fn settings(evergrant: &mut TestDeployment, pace: ProviderPace) {
    let timeout = format!("{}s", REQUEST_TIMEOUT.as_secs());
    let lease = format!("{}s", LEASE.as_secs());
    for (name, value) in [
        ("WORKER__EXCHANGES_IN_FLIGHT", pace.in_flight.to_string().as_str()),
        ("WORKER__PERMIT_WAIT", "3s"),
        ("WORKER__LEASE", &lease),
        ("PROVIDERS__SIMULATOR__REQUEST_TIMEOUT", &timeout),
        ("QUEUE__RETRY_LADDER", r#"["200ms", "1s", "5s"]"#),
        // Jobs are published during the run, so that killing a producer matters.
        ("PRODUCER__INTERVAL", "500ms"),
        ("PRODUCER__MAX_QUEUED", "200"),
        ("PRODUCER__WINDOW", "50"),
        ("PRODUCER__LEADER_LEASE", "5s"),
    ] {
        evergrant.set(name, value);
    }
}
