//! The worker's binary: arguments, wiring, signals.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use evergrant_shared::budget::{BudgetSettings, SharedBudget};
use evergrant_shared::config::{Config, RescueConfig};
use evergrant_shared::ports::TokenStore;
use evergrant_shared::provider::{Provider, ProviderClient};
use evergrant_shared::rescue::{FileJournal, Journal};
use evergrant_shared::telemetry::{Health, Metrics, init_logs, serve};
use evergrant_shared::{connect, process, startup};
use evergrant_worker::{Deps, Ended, ProviderDeps, RescueDeps, WorkerSettings, run};

/// Refreshes grants: takes jobs from the queue, exchanges tokens, writes them back. Run as many as
/// you like.
#[derive(Debug, Parser)]
#[command(name = "evergrant-worker", version)]
struct Args {
    /// Configuration file (TOML). Secrets come from it, from files it names, or the environment.
    #[arg(long, env = "EVERGRANT_CONFIG")]
    config: Option<PathBuf>,
    /// Where /healthz, /readyz and /metrics are served: an address and a port, or off.
    #[arg(long)]
    listen: Option<String>,
    /// As RUST_LOG: info, debug, evergrant_worker=debug,info.
    #[arg(long)]
    log_level: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let overrides = [("telemetry.listen", args.listen), ("telemetry.log_level", args.log_level)];
    let config = Config::load(args.config.as_deref(), &overrides)?;
    init_logs(&config.telemetry)?;
    let providers = config.providers()?;
    anyhow::ensure!(
        !providers.is_empty(),
        "no provider is configured: add a section [providers.NAME]"
    );

    let name = process::unique_name();
    let shutdown = process::shutdown()?;
    let (metrics, health) = (Metrics::default(), Health::default());
    let store = connect::store(&config).await?;
    let queue = connect::queue(&config, format!("evergrant-worker {name}"))?;

    let served =
        serve(config.telemetry.listen, metrics.clone(), health.clone(), shutdown.clone().wait());
    if let Some(address) = served.await? {
        tracing::info!(%address, "serving health and metrics");
    }
    if !startup::prepare(&*store, &*queue, &health, shutdown.clone()).await? {
        return Ok(ExitCode::SUCCESS);
    }
    tracing::info!(worker = name, providers = providers.len(), "started");
    let providers = providers.into_iter().map(|provider| provider_deps(provider, &store));
    let deps = Deps {
        providers: providers.collect::<Result<_, _>>()?,
        store,
        queue,
        rescue: rescue(&config.rescue, &name)?,
        settings: settings(&config, name),
        metrics,
        health,
    };
    match run(deps, shutdown.wait()).await {
        Ended::Cleanly => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        Ended::GraceOver => {
            tracing::error!("stopped before all was done");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn provider_deps(provider: Provider, store: &Arc<dyn TokenStore>) -> anyhow::Result<ProviderDeps> {
    let provider = Arc::new(provider);
    let client = ProviderClient::new(Arc::clone(&provider)).context("start")?;
    let settings = BudgetSettings {
        provider: provider.id.clone(),
        limits: provider.limits.clone(),
        client: provider.fingerprint(),
    };
    let budget = SharedBudget::start(Arc::clone(store), settings);
    Ok(ProviderDeps { provider, endpoint: Arc::new(client), budget: Arc::new(budget) })
}

/// The nets that the settings give; without a key there are none.
fn rescue(config: &RescueConfig, name: &str) -> anyhow::Result<Option<RescueDeps>> {
    let Some(sealer) = config.sealer()? else {
        tracing::warn!(
            "no rescue.key is set: a provider's answer is in memory only until it is written, and a \
             worker that dies in those milliseconds loses a grant. Make a key with: \
             openssl rand -base64 32"
        );
        return Ok(None);
    };
    let journal = match &config.journal {
        None => None,
        Some(folder) => {
            let journal = FileJournal::open(folder, name).with_context(|| {
                format!("open a journal in rescue.journal = {}", folder.display())
            })?;
            Some(Arc::new(journal) as Arc<dyn Journal>)
        }
    };
    Ok(Some(RescueDeps { sealer, journal, after: config.after }))
}

fn settings(config: &Config, name: String) -> WorkerSettings {
    WorkerSettings {
        name,
        exchanges_in_flight: config.worker.exchanges_in_flight,
        batch: config.worker.batch,
        permit_wait: config.worker.permit_wait,
        lease: config.worker.lease,
        shards: config.worker.shards.clone(),
        shutdown_grace: config.worker.shutdown_grace,
    }
}
