//! `drain --store sqlite`: `evergrant run` empties its own queue, in one process and one file.
//!
//! The bound is that of any drain: the rates of consuming, claiming, exchanging and committing
//! together, each measured alone in the same run, here through the adapters. For comparison,
//! another bound ignores jobs and leases: group commits with SQLite's bare client, and the token
//! endpoint.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use evergrant_domain::ProviderId;
use evergrant_ports::{GrantFilter, ImportDocument, Store};
use evergrant_runtime::config::Config;
use evergrant_runtime::connect;
use evergrant_testkit::deployment::PROVIDER;
use evergrant_testkit::program;
use evergrant_worker::WorkerSettings;
use futures::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document};
use serde_json::Value;
use tempfile::TempDir;

use crate::args::DrainArgs;
use crate::drain::{DrainResult, report_bounds, report_usage, watch};
use crate::provider::{CLIENT, Provider, ProviderWire};
use crate::rates::{Rate, Rates};
use crate::raw::{exchange, group};
use crate::report::{Report, say};
use crate::scene::SideLoad;
use crate::site::{Worker, succeeded};
use crate::{seed, stages};

/// Documents that are imported at once.
const BATCH: usize = 1_000;
/// The due time of the other users: later than any run lasts.
const LATER_MS: i64 = 7 * 86_400_000;

pub(crate) async fn run(args: &DrainArgs) -> anyhow::Result<Report> {
    ensure!(args.peer.is_none() && !args.tls, "--peer and --tls are for MongoDB");
    say("measuring each stage alone");
    let site = Site::new(args.docs, seed::ONCE).await?;
    let Raw { rates, bare_commit } = site.raw_rates(args.docs).await?;
    say("measuring the drain");
    let site = Site::new(args.docs, args.refreshed()).await?;
    let drained = site.drain(args).await?;
    let mut report = Report::new("drain");
    report.text("store", "sqlite");
    report.count("docs", args.docs);
    report.count("others", args.others);
    report.count("workers", args.workers);
    report.count("latency_ms", args.latency_ms);
    report.count("refreshed_before", args.refreshed().unsigned_abs());
    rates.report(&mut report);
    let in_flight = site.config.section::<WorkerSettings>()?.exchanges_in_flight;
    report_bounds(&mut report, &rates, args.workers, in_flight, args.latency_ms);
    report.number("refreshes_per_s", drained.refreshes_per_s);
    report.number("ratio", drained.refreshes_per_s / rates.bound_per_s());
    report.number("raw_bare_commit_per_s", bare_commit.per_s);
    let exchange = rates.0.iter().copied().filter(|rate| rate.stage == "exchange");
    let narrow = Rates(exchange.chain([bare_commit]).collect()).bound_per_s();
    report.number("bound_of_commit_and_exchange_per_s", narrow);
    report.number("ratio_of_commit_and_exchange", drained.refreshes_per_s / narrow);
    report_usage(&mut report, &drained);
    Ok(report)
}

/// The rate of each stage alone.
struct Raw {
    /// Through the adapters.
    rates: Rates,
    /// Group commits of bare SQLite.
    bare_commit: Rate,
}

/// A provider, and a folder with a file.
struct Site {
    provider: Provider,
    config: Config,
    store: Arc<dyn Store>,
    /// How many times each grant was refreshed before.
    refreshed: i64,
    variables: Vec<(String, String)>,
    folder: TempDir,
}

impl Site {
    async fn new(max_queued: u32, refreshed: i64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the file")?;
        let provider = Provider::start(folder.path(), ProviderWire::Plain).await?;
        let file = format!("sqlite:{}", folder.path().join("evergrant.db").display());
        let variables = [
            ("STORE__URL", file.as_str()),
            ("QUEUE__URL", &file),
            ("PRODUCER__MAX_QUEUED", &max_queued.to_string()),
            ("PROVIDERS__SIMULATOR__TOKEN_URL", &provider.token_url()),
            ("PROVIDERS__SIMULATOR__CLIENT_ID", CLIENT.0),
            ("PROVIDERS__SIMULATOR__CLIENT_SECRET", CLIENT.1),
            ("PROVIDERS__SIMULATOR__LIMITS", "[]"),
            ("TELEMETRY__LISTEN", "off"),
            ("TELEMETRY__LOG_LEVEL", "warn"),
        ]
        .map(|(name, value)| (format!("EVERGRANT_{name}"), value.to_owned()))
        .to_vec();
        let read = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let config = Config::from_parts(None, read, &[]).context("the program's settings")?;
        let store = connect::store(&config).await?;
        store.prepare().await?;
        Ok(Self { provider, config, store, refreshed, variables, folder })
    }

    async fn raw_rates(&self, docs: u32) -> anyhow::Result<Raw> {
        let documents = self.publish(docs).await?;
        let worker: WorkerSettings = self.config.section()?;
        let (in_flight, batch) = (worker.exchanges_in_flight, usize::from(worker.batch));
        let queue = connect::queue(&self.config, "bench".to_owned())?;
        let provider: ProviderId = PROVIDER.parse().context("the provider's name")?;
        // As many as a worker has under way, claimed and in commits.
        let (prefetch, count) = (in_flight.saturating_mul(3), documents.len());
        let (consume, ids) = stages::consume(&*queue, &provider, count, prefetch, batch).await?;
        let (claim, held) = stages::claim(self.store.clone(), &ids, batch).await?;
        let commit = stages::commit(self.store.clone(), &held, batch).await?;
        let token_url = self.provider.token_url();
        let exchange = exchange::measure(&token_url, &documents, usize::from(in_flight)).await?;
        // In the order of a drain, which is not the order in the file.
        let file = self.folder.path().join("bare.db");
        let order = seed::order_of_due(&documents);
        let bare = commits_per_s(&file, documents, order, batch).await?;
        let stages =
            [("consume", consume), ("claim", claim), ("exchange", exchange), ("commit", commit)];
        Ok(Raw {
            rates: Rates(stages.into_iter().map(|(stage, per_s)| Rate { stage, per_s }).collect()),
            bare_commit: Rate { stage: "bare_commit", per_s: bare },
        })
    }

    /// Signs users in and publishes their jobs; returns their documents.
    async fn publish(&self, docs: u32) -> anyhow::Result<Vec<Document>> {
        let due = seed::documents(self.provider.sign_in(docs).await?, self.refreshed)?;
        self.import(due.iter().cloned()).await?;
        succeeded(&program::run("evergrant-producer", &["--once"], &self.variables).await)?;
        Ok(due)
    }

    async fn drain(&self, args: &DrainArgs) -> anyhow::Result<DrainResult> {
        self.import((0..args.others as usize).map(not_due)).await?;
        self.publish(args.docs).await?;
        self.provider.set_latency_ms(args.latency_ms).await?;
        let workers = args.workers.to_string();
        let run = Worker::start(
            "evergrant",
            &["run", "--workers", &workers],
            &self.variables,
            self.folder.path().join("run.log"),
            &evergrant_testkit::http_client(),
        )?;
        let mut running = [run];
        let beside = SideLoad { provider: &self.provider, store: None };
        let drained = watch(&beside, &mut running, u64::from(args.docs)).await?;
        let [run] = running;
        run.stop().await?;
        self.provider.ensure_each_once(self.refreshed().await?, u64::from(args.docs)).await?;
        Ok(drained)
    }

    /// Stores documents without holding them all at once.
    async fn import(&self, documents: impl Iterator<Item = Document>) -> anyhow::Result<()> {
        let mut documents =
            documents.map(|document| match Bson::Document(document).into_canonical_extjson() {
                Value::Object(fields) => Ok(ImportDocument(fields)),
                _ => bail!("a document is no object"),
            });
        loop {
            let batch = documents.by_ref().take(BATCH).collect::<anyhow::Result<Vec<_>>>()?;
            if batch.is_empty() {
                return Ok(());
            }
            self.store.import(batch).await?;
        }
    }

    /// The number of refreshed users.
    async fn refreshed(&self) -> anyhow::Result<u64> {
        let mut grants = self.store.list(GrantFilter::default());
        let mut refreshed = 0;
        while let Some(grant) = grants.try_next().await? {
            refreshed += u64::from(grant.generation == self.refreshed.unsigned_abs() + 1);
        }
        Ok(refreshed)
    }
}

/// On a thread that may block.
async fn commits_per_s(
    file: &Path,
    documents: Vec<Document>,
    order: Vec<usize>,
    group: usize,
) -> anyhow::Result<f64> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || group::measure(&file, &documents, &order, group)).await?
}

fn not_due(ordinal: usize) -> Document {
    let mut document = seed::stranger(ordinal);
    if let Ok(state) = document.get_document_mut("evergrant") {
        let later = DateTime::now().timestamp_millis() + LATER_MS;
        state.insert("next_refresh_at", DateTime::from_millis(later));
    }
    document
}
