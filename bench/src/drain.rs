//! `drain`: workers empty a full queue.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use evergrant_worker::WorkerSettings;
use mongodb::bson::doc;

use crate::args::{DrainArgs, PeerKind};
use crate::provider::ProviderWire;
use crate::rates::{Rate, Rates};
use crate::raw::queue::RawQueue;
use crate::raw::{claim, commit, exchange};
use crate::report::{Report, say};
use crate::scene::{Scene, SideLoad};
use crate::site::Worker;
use crate::store::Store;
use crate::{Servers, peer, seed, tls};

/// How long workers may take to begin, and how long a drain may make no progress.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Each poll costs the provider and the workers something.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The work of the workers.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) docs: u32,
    /// How many times each was refreshed before.
    pub(crate) refreshed: i64,
    pub(crate) latency_ms: u64,
    pub(crate) wire: ProviderWire,
}

/// Measurements from when all workers were busy until the last commit.
pub(crate) struct DrainResult {
    pub(crate) refreshes_per_s: f64,
    /// CPU time of all workers together.
    pub(crate) worker_cpu_us: f64,
    pub(crate) provider_cpu_us: f64,
    /// If the store is a process of this run.
    pub(crate) store_cpu_us: Option<f64>,
    /// The peak of each worker.
    pub(crate) rss_mib: Vec<f64>,
    /// Documents in a claim and in a commit, on average.
    pub(crate) docs_per_claim: f64,
    pub(crate) docs_per_commit: f64,
}

pub(crate) async fn run(servers: &Servers, args: &DrainArgs) -> anyhow::Result<Report> {
    say("measuring each stage alone");
    let before = raw_rates(servers, args.docs).await?;
    say("measuring the drain");
    let refreshed = args.refreshed();
    let wire = ProviderWire::Plain;
    let load = Load { docs: args.docs, refreshed, latency_ms: args.latency_ms, wire };
    let (drained, in_flight) = measure(servers, load, args.workers).await?;
    say("measuring each stage alone again");
    let rates = before.mean(&raw_rates(servers, args.docs).await?);
    let mut report = Report::new("drain");
    report.text("store", servers.stores.what());
    report.text("broker", &servers.broker.what);
    report.count("docs", args.docs);
    report.count("workers", args.workers);
    report.count("latency_ms", args.latency_ms);
    report.count("refreshed_before", args.refreshed().unsigned_abs());
    rates.report(&mut report);
    report_bounds(&mut report, &rates, args.workers, in_flight, args.latency_ms);
    report.number("refreshes_per_s", drained.refreshes_per_s);
    report.number("ratio", drained.refreshes_per_s / rates.bound_per_s());
    report_usage(&mut report, &drained);
    if args.tls {
        report.rows("tls", tls::measure(servers, load, args.workers).await?);
    }
    if args.peer == Some(PeerKind::Sequential) {
        say("measuring the sequential loop");
        let peer = peer::measure(servers, args.docs, args.latency_ms).await?;
        report.number("times_peer", drained.refreshes_per_s / peer.refreshes_per_s);
        report.part("peer", peer.report());
    }
    Ok(report)
}

/// Resource usage of the workers and of the servers of this run.
pub(crate) fn report_usage(report: &mut Report, drained: &DrainResult) {
    report.number("worker_cpu_us_per_refresh", drained.worker_cpu_us);
    let rss_mib = drained.rss_mib.iter().copied().fold(0.0, f64::max);
    report.number("worker_rss_mib", rss_mib);
    report.number("docs_per_claim", drained.docs_per_claim);
    report.number("docs_per_commit", drained.docs_per_commit);
    report.number("provider_cpu_us_per_refresh", drained.provider_cpu_us);
    if let Some(cpu_us) = drained.store_cpu_us {
        report.number("store_cpu_us_per_refresh", cpu_us);
    }
}

/// With a latency, the requests that may be under way are another bound.
pub(crate) fn report_bounds(
    report: &mut Report,
    rates: &Rates,
    workers: u16,
    in_flight: u16,
    latency_ms: u64,
) {
    let mut binds = rates.slowest();
    if latency_ms > 0 {
        let under_way = f64::from(workers) * f64::from(in_flight);
        let bound_per_s = under_way * 1_000.0 / latency_ms as f64;
        report.number("in_flight_bound_per_s", bound_per_s);
        if bound_per_s < rates.bound_per_s() {
            binds = "in_flight";
        }
    }
    report.text("binds", binds);
}

/// The rate of each stage of a drain alone, in the batches of a worker.
pub(crate) async fn raw_rates(servers: &Servers, docs: u32) -> anyhow::Result<Rates> {
    let scene = Scene::new(servers, docs, seed::ONCE, &[]).await?;
    // Documents are as the producer leaves them.
    scene.site.publish().await?;
    let (collection, documents) = (&scene.site.collection, &scene.documents);
    let worker: WorkerSettings = scene.site.config.section()?;
    let (in_flight, batch) = (worker.exchanges_in_flight, usize::from(worker.batch));
    let client = scene.store.client().await?;
    let queue = RawQueue::declare(&servers.broker.url).await?;
    queue.publish(documents.len(), RAW_WINDOW).await?;
    // As many as a worker has under way, claimed and in commits.
    let consume = queue.consume(documents.len(), in_flight.saturating_mul(3), batch).await?;
    let claim = claim::measure(collection, documents, batch).await?;
    let token_url = scene.provider.token_url();
    let exchange = exchange::measure(&token_url, documents, usize::from(in_flight)).await?;
    let commit = commit::measure(&client, collection, documents, batch).await?;
    Ok(Rates(vec![
        Rate { stage: "consume", per_s: consume },
        Rate { stage: "claim", per_s: claim },
        Rate { stage: "exchange", per_s: exchange },
        Rate { stage: "commit", per_s: commit },
    ]))
}

const RAW_WINDOW: usize = 1_000;

/// Drains a full queue. Also returns how many requests a worker may have under way.
pub(crate) async fn measure(
    servers: &Servers,
    load: Load,
    workers: u16,
) -> anyhow::Result<(DrainResult, u16)> {
    let Load { docs, refreshed, latency_ms, wire } = load;
    let scene = Scene::over(wire, servers, docs, refreshed, &[]).await?;
    scene.site.publish().await?;
    scene.provider.set_latency_ms(latency_ms).await?;
    let mut running = scene.site.start_workers(workers)?;
    let drained = watch(&scene.servers(), &mut running, u64::from(docs)).await?;
    for worker in running {
        worker.stop().await?;
    }
    let refreshed = doc! { "evergrant.generation": refreshed + 1 };
    let refreshed = scene.site.collection.count_documents(refreshed).await?;
    scene.provider.ensure_each_once(refreshed, u64::from(docs)).await?;
    let worker: WorkerSettings = scene.site.config.section()?;
    Ok((drained, worker.exchanges_in_flight))
}

/// Resource usage up to a moment.
struct Moment {
    at: Instant,
    commits: u64,
    workers_us: u64,
    provider_us: u64,
    store_us: Option<u64>,
}

impl Moment {
    async fn now(servers: &SideLoad<'_>, workers: &[Worker], commits: u64) -> anyhow::Result<Self> {
        let workers_us: Result<Vec<u64>, _> = workers.iter().map(Worker::cpu_us).collect();
        Ok(Self {
            at: Instant::now(),
            commits,
            workers_us: workers_us?.iter().sum(),
            provider_us: servers.provider.cpu_us()?,
            store_us: servers.store.and_then(Store::cpu_us),
        })
    }
}

pub(crate) async fn watch(
    servers: &SideLoad<'_>,
    workers: &mut [Worker],
    docs: u64,
) -> anyhow::Result<DrainResult> {
    let commits = all_at_work(workers).await?;
    let begin = Moment::now(servers, workers, commits).await?;
    // Metrics cost the workers something, so they are read only near the end.
    wait("exchange", workers, async |_| Ok(servers.provider.stats().await?.exchanges), docs)
        .await?;
    wait("commit", workers, async |workers| Ok(total_commits(workers).await), docs).await?;
    let end = Moment::now(servers, workers, docs).await?;
    let refreshed = (end.commits - begin.commits) as f64;
    ensure!(
        refreshed >= docs as f64 / 4.0,
        "the workers had done most before all of them were at work: take more --docs"
    );
    let each = |begin_us: u64, end_us: u64| (end_us - begin_us) as f64 / refreshed;
    Ok(DrainResult {
        refreshes_per_s: refreshed / (end.at - begin.at).as_secs_f64(),
        worker_cpu_us: each(begin.workers_us, end.workers_us),
        provider_cpu_us: each(begin.provider_us, end.provider_us),
        store_cpu_us: begin.store_us.zip(end.store_us).map(|(begin, end)| each(begin, end)),
        rss_mib: workers.iter().map(Worker::peak_rss_mib).collect::<Result<_, _>>()?,
        docs_per_claim: docs as f64 / total(workers, "evergrant_claim_batches_total").await,
        docs_per_commit: docs as f64 / total(workers, "evergrant_commit_groups_total").await,
    })
}

/// Waits until each worker has committed something; returns the total.
async fn all_at_work(workers: &mut [Worker]) -> anyhow::Result<u64> {
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    let mut commits = 0;
    for worker in &mut *workers {
        loop {
            let done = worker.metrics().await.map_or(0, |metrics| metrics.commits());
            commits += done;
            if done > 0 {
                break;
            }
            worker.check()?;
            ensure!(Instant::now() < deadline, "a worker has nothing to do: take more --docs");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    // The first ones have continued meanwhile.
    if workers.len() > 1 {
        commits = total_commits(workers).await;
    }
    Ok(commits)
}

async fn total_commits(workers: &[Worker]) -> u64 {
    total(workers, "evergrant_commits_total").await as u64
}

/// The sum of a metric over all workers.
async fn total(workers: &[Worker], metric: &str) -> f64 {
    let mut total = 0.0;
    for worker in workers {
        total += worker.metrics().await.map_or(0.0, |metrics| metrics.sum(metric));
    }
    total
}

/// Waits until a count has come to `wanted`.
async fn wait(
    what: &str,
    workers: &mut [Worker],
    count: impl AsyncFn(&[Worker]) -> anyhow::Result<u64>,
    wanted: u64,
) -> anyhow::Result<()> {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let now = count(workers).await?;
        if now >= wanted {
            return Ok(());
        }
        if now > last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > DRAIN_TIMEOUT {
            bail!("no {what} for {} s, at {now} of {wanted}", DRAIN_TIMEOUT.as_secs());
        }
        workers.iter_mut().try_for_each(Worker::check)?;
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
