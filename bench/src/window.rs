//! `window`: the time from the provider's answer to its durable commit, in which a grant can be
//! lost.

use anyhow::{Context, ensure};

use crate::args::WindowArgs;
use crate::budget::docs;
use crate::drain::{report_usage, watch};
use crate::metrics::Buckets;
use crate::report::{Report, say};
use crate::scene::Scene;
use crate::{Servers, seed};

/// The worker's histogram.
const HISTOGRAM: &str = "evergrant_answer_to_commit_seconds";

pub(crate) async fn run(servers: &Servers, args: &WindowArgs) -> anyhow::Result<Report> {
    let docs = docs(args.rate, args.seconds)?;
    let limits = format!("[\"{}\"]", args.rate);
    let settings = [("PROVIDERS__SIMULATOR__LIMITS", limits.as_str())];
    let scene = Scene::new(servers, docs, seed::ONCE, &settings).await?;
    scene.provider.set_latency_ms(args.latency_ms).await?;
    scene.site.publish().await?;
    say(&format!("measuring {docs} refreshes at {}", args.rate));
    let mut workers = scene.site.start_workers(1)?;
    let drained = watch(&scene.servers(), &mut workers, u64::from(docs)).await?;
    let metrics = workers[0].metrics().await.context("the worker's metrics")?;
    for worker in workers {
        worker.stop().await?;
    }
    let waits = metrics.histogram(HISTOGRAM);
    ensure!(waits.count() >= f64::from(docs), "{HISTOGRAM} counts {} of {docs}", waits.count());
    let mut report = Report::new("window");
    report.text("store", servers.stores.what());
    report.text("broker", &servers.broker.what);
    report.text("rate", args.rate.to_string());
    report.count("docs", docs);
    report.number("refreshes_per_s", drained.refreshes_per_s);
    report_quantile(&mut report, &waits, "median", 0.5);
    report_quantile(&mut report, &waits, "p99", 0.99);
    report_usage(&mut report, &drained);
    Ok(report)
}

/// The estimate, and the certain bounds of the bucket.
fn report_quantile(report: &mut Report, waits: &Buckets, name: &str, quantile: f64) {
    let found = waits.quantile(quantile);
    report.number(&format!("{name}_ms"), found.estimate * 1_000.0);
    report.number(&format!("{name}_at_most_ms"), found.at_most * 1_000.0);
}
