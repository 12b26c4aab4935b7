//! The sequential loop that Evergrant replaces, in a separate process: it reads one document after
//! another, exchanges its token, and writes the new one conditionally.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::TryStreamExt;
use mongodb::bson::{DateTime, doc};
use mongodb::options::{Acknowledgment, WriteConcern};
use tokio::process::Command;

use crate::args::PeerArgs;
use crate::raw::exchange::exchange;
use crate::report::Report;
use crate::scene::Scene;
use crate::{Servers, seed, usage};

/// How long the loop is measured.
const SECONDS: u64 = 15;
/// The variable with the store's URL, which may contain a password.
const STORE_VARIABLE: &str = "EVERGRANT_BENCH_PEER_STORE";

/// Measurements of the loop.
pub(crate) struct PeerResult {
    pub(crate) refreshes_per_s: f64,
    cpu_us: f64,
    rss_mib: f64,
}

impl PeerResult {
    pub(crate) fn report(&self) -> Report {
        let mut report = Report::default();
        report.text("name", "sequential");
        report.number("refreshes_per_s", self.refreshes_per_s);
        report.number("cpu_us_per_refresh", self.cpu_us);
        report.number("rss_mib", self.rss_mib);
        report
    }
}

/// Runs the loop on a fresh store.
pub(crate) async fn measure(
    servers: &Servers,
    docs: u32,
    latency_ms: u64,
) -> anyhow::Result<PeerResult> {
    let scene = Scene::new(servers, docs, seed::ONCE, &[]).await?;
    scene.provider.set_latency_ms(latency_ms).await?;
    let output = Command::new(std::env::current_exe()?)
        .args(["--json", "peer", "--database", &scene.site.database])
        .args(["--token-url", &scene.provider.token_url(), "--seconds", &SECONDS.to_string()])
        .env(STORE_VARIABLE, &scene.store.url)
        .kill_on_drop(true)
        .output()
        .await
        .context("start the sequential loop")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the sequential loop failed: {said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let figure = |name: &str| report[name].as_f64().with_context(|| format!("no {name}"));
    Ok(PeerResult {
        refreshes_per_s: figure("refreshes_per_s")?,
        cpu_us: figure("cpu_us_per_refresh")?,
        rss_mib: figure("rss_mib")?,
    })
}

/// The loop itself.
pub(crate) async fn run(args: &PeerArgs) -> anyhow::Result<Report> {
    let url = std::env::var(STORE_VARIABLE).context(STORE_VARIABLE)?;
    let client = mongodb::Client::with_uri_str(&url).await?;
    let database = client.database(&args.database);
    let tokens = database.collection::<mongodb::bson::Document>("tokens");
    let http = evergrant_testkit::http_client();
    let (started, limit) = (Instant::now(), Duration::from_secs(args.seconds));
    let mut refreshed = 0_u32;
    let durable = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
    let mut due = tokens.find(doc! { "evergrant.status": "active" }).await?;
    while started.elapsed() < limit
        && let Some(document) = due.try_next().await?
    {
        let old = document.get_str("refresh_token")?;
        let answer = exchange(&http, &args.token_url, old.to_owned()).await?;
        let new = |name: &str| answer[name].as_str().context("an answer without tokens");
        let written = tokens
            .update_one(
                doc! { "_id": document.get("_id"), "refresh_token": old },
                doc! { "$set": {
                    "access_token": new("access_token")?,
                    "refresh_token": new("refresh_token")?,
                    "refreshed_at": DateTime::now(),
                } },
            )
            .write_concern(durable.clone())
            .await?;
        ensure!(written.matched_count == 1, "a document has moved on");
        refreshed += 1;
    }
    ensure!(refreshed > 0, "there was nothing to refresh");
    let own = std::process::id();
    let mut report = Report::new("peer");
    report.number("refreshes_per_s", f64::from(refreshed) / started.elapsed().as_secs_f64());
    report.number("cpu_us_per_refresh", usage::cpu_us(own)? as f64 / f64::from(refreshed));
    report.number("rss_mib", usage::peak_rss_mib(own)?);
    Ok(report)
}
