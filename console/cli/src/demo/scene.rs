//! The stage: a provider, settings that lead to it, a temporary file, and users.

use std::ffi::OsString;

use evergrant_ports::{ImportDocument, TransferStore};
use evergrant_runtime::config::Config;
use evergrant_simulator::{FaultRates, SeedPlan, Simulator, SimulatorHandle, SimulatorSettings};
use serde_json::Value;
use tempfile::TempDir;

use crate::args::{DemoArgs, Faults};
use crate::output::Output;

/// The provider's name in the settings.
pub(super) const PROVIDER: &str = "demo";
/// Documents that are imported at once.
const BATCH: usize = 500;
/// How long the provider takes, in milliseconds, and how far that spreads.
const LATENCY_MS: u64 = 40;
const LATENCY_SPREAD_MS: u64 = 20;

/// The stage.
pub(super) struct Scene {
    /// The provider, from within.
    pub(super) simulator: SimulatorHandle,
    /// Settings that lead to it.
    pub(super) config: Config,
    /// Users, sound ones and others.
    pub(super) users: u32,
    /// Requests that the provider takes in a second.
    pub(super) limit_per_s: u32,
    /// What holds the file; it goes with this.
    _folder: TempDir,
}

/// What goes wrong.
struct Trouble {
    faults: FaultRates,
    /// How long the provider takes an old token once more: zero is strict.
    grace_s: u64,
    dead_share: f64,
    malformed_share: f64,
    max_attempts: u32,
}

impl Trouble {
    fn from_faults(faults: Faults) -> Self {
        // Each throttle makes all workers wait for a moment.
        let ordinary = FaultRates {
            http_500: 0.05,
            http_503: 0.04,
            throttle_429: 0.005,
            ..FaultRates::default()
        };
        match faults {
            Faults::None => Self {
                faults: FaultRates::default(),
                grace_s: 0,
                dead_share: 0.0,
                malformed_share: 0.0,
                max_attempts: 2,
            },
            Faults::Some => Self {
                faults: ordinary,
                grace_s: 0,
                dead_share: 0.02,
                malformed_share: 0.01,
                max_attempts: 2,
            },
            Faults::Heavy => Self {
                faults: FaultRates {
                    http_500: 0.1,
                    http_503: 0.1,
                    throttle_429: 0.02,
                    html_error: 0.03,
                    reset_before: 0.03,
                    // The token is rotated and the new one never arrives. Without a grace nobody
                    // could save such a grant.
                    reset_after: 0.03,
                    truncated_body: 0.02,
                    ..ordinary
                },
                grace_s: 600,
                dead_share: 0.04,
                malformed_share: 0.02,
                max_attempts: 3,
            },
        }
    }
}

impl Scene {
    /// Starts the provider on a free port, and makes a temporary folder.
    pub(super) async fn set(args: &DemoArgs, log_level: Option<String>) -> anyhow::Result<Self> {
        let trouble = Trouble::from_faults(args.faults);
        // All users in about ten seconds, as long as that is a pace that a provider might allow.
        let limit_per_s = (args.users / 10).clamp(25, 1_000);
        let limit = format!("{limit_per_s}/s");
        let provider = evergrant_simulator::SimulatorConfig {
            seed: args.seed,
            settings: SimulatorSettings {
                faults: trouble.faults,
                grace_s: trouble.grace_s,
                limits: vec![limit.parse()?],
                latency_ms: LATENCY_MS,
                latency_spread_ms: LATENCY_SPREAD_MS,
                ..SimulatorSettings::default()
            },
            ..evergrant_simulator::SimulatorConfig::default()
        };
        let (id, secret) = (provider.client_id.clone(), provider.client_secret.clone());
        let simulator = Simulator::bind(provider, "127.0.0.1:0").await?;
        let (handle, url) = (simulator.handle(), simulator.url());
        tokio::spawn(simulator.run(std::future::pending()));

        let folder = tempfile::Builder::new().prefix("evergrant-demo-").tempdir()?;
        let file = format!("sqlite:{}", folder.path().join("evergrant.db").display());
        let variables = [
            ("STORE__URL", file.clone()),
            ("QUEUE__URL", file),
            ("QUEUE__RETRY_LADDER", r#"["500ms", "1s", "2s", "4s", "8s"]"#.to_owned()),
            ("PRODUCER__INTERVAL", "1s".to_owned()),
            // So little that the queue can be seen to empty.
            ("WORKER__EXCHANGES_IN_FLIGHT", "8".to_owned()),
            ("TELEMETRY__LISTEN", "off".to_owned()),
            ("TELEMETRY__LOG_LEVEL", log_level.unwrap_or_else(|| "error".to_owned())),
            ("PROVIDERS__DEMO__TOKEN_URL", format!("{url}/token")),
            ("PROVIDERS__DEMO__CLIENT_ID", id),
            ("PROVIDERS__DEMO__CLIENT_SECRET", secret),
            ("PROVIDERS__DEMO__LIMITS", format!("[\"{limit}\"]")),
            // A minute of a demo stands for days.
            ("PROVIDERS__DEMO__DEATH_RECHECK", "1s".to_owned()),
            ("PROVIDERS__DEMO__MAX_ATTEMPTS", trouble.max_attempts.to_string()),
        ];
        let variables = variables
            .map(|(name, value)| (format!("EVERGRANT_{name}").into(), OsString::from(value)));
        let config = Config::from_parts(None, variables, &[])?;
        let users = args.users;
        Ok(Self { simulator: handle, config, users, limit_per_s, _folder: folder })
    }

    /// Says what is about to happen.
    pub(super) fn introduce(&self, args: &DemoArgs, words: &Output) {
        let Self { users, limit_per_s, .. } = self;
        let grace = match Trouble::from_faults(args.faults).grace_s {
            0 => "every exchange kills the old token at once".to_owned(),
            grace_s => format!("the old token is taken once more within {grace_s} s"),
        };
        let trouble = match args.faults {
            Faults::None => "nothing goes wrong",
            Faults::Some => {
                "every tenth request fails, some users are gone, some documents are broken"
            }
            Faults::Heavy => "a third of all requests fail, and some answers are lost on the way",
        };
        let workers = args.workers;
        words.line(&format!(
            "A provider that takes {limit_per_s} requests a second: {grace}; {trouble}.\n\
             {users} users in one file, one producer, {workers} workers, no other server.\n"
        ));
    }

    /// Signs all users in, and stores their documents as an application would have.
    pub(super) async fn import(
        &self,
        store: &dyn TransferStore,
        args: &DemoArgs,
    ) -> anyhow::Result<()> {
        let trouble = Trouble::from_faults(args.faults);
        let mut documents = self.simulator.seed(SeedPlan {
            count: self.users,
            dead_share: trouble.dead_share,
            malformed_share: trouble.malformed_share,
            ..SeedPlan::default()
        })?;
        loop {
            let batch =
                documents.by_ref().take(BATCH).map(|document| {
                    match serde_json::to_value(document)? {
                        Value::Object(fields) => Ok(ImportDocument(fields)),
                        _ => anyhow::bail!("the simulator made something that is no document"),
                    }
                });
            let batch = batch.collect::<anyhow::Result<Vec<_>>>()?;
            if batch.is_empty() {
                return Ok(());
            }
            store.import(batch).await?;
        }
    }

    /// From now on nothing goes wrong at the provider.
    pub(super) fn recover(&self) -> anyhow::Result<()> {
        Ok(self.simulator.change(|settings| settings.faults = FaultRates::default())?)
    }
}
