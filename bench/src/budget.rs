//! `budget`: the used share of a rate limit, which is never exceeded, at several numbers of
//! workers.

use std::time::{Duration, Instant};

use anyhow::ensure;
use evergrant_domain::limit::RateLimit;
use evergrant_simulator::SimulatorStats;

use crate::args::BudgetArgs;
use crate::report::{Report, say};
use crate::scene::Scene;
use crate::site::Worker;
use crate::{Servers, seed};

const POLL_INTERVAL: Duration = Duration::from_millis(10);
const START_LIMIT: Duration = Duration::from_secs(60);
/// The steady part begins this long after the first request.
const WARM_UP: Duration = Duration::from_secs(2);
/// It ends at this share of the exchanges, when workers begin to run out of jobs.
const STEADY_SHARE: f64 = 0.95;

pub(crate) async fn run(servers: &Servers, args: &BudgetArgs) -> anyhow::Result<Report> {
    ensure!(!args.replicas.contains(&0), "--replicas: at least 1 each");
    let docs = docs(args.rate, args.seconds)?;
    let mut report = Report::new("budget");
    report.text("store", servers.stores.what());
    report.text("broker", &servers.broker.what);
    report.text("rate", args.rate.to_string());
    report.count("docs", docs);
    let mut rows = Vec::new();
    for &replicas in &args.replicas {
        say(&format!("measuring {replicas} workers"));
        let stats = drain(servers, args.rate, docs, replicas).await?;
        let mut row = Report::default();
        row.count("replicas", replicas);
        row.number("used", stats.used);
        row.number("max_over_1s", share(stats.end.max_in_1s, args.rate, 1));
        row.number("max_over_60s", share(stats.end.max_in_60s, args.rate, 60));
        row.number("drain_over_ideal", stats.drain_over_ideal);
        rows.push(row);
    }
    report.rows("budget", rows);
    Ok(report)
}

/// How many documents the limit admits in this time.
pub(crate) fn docs(rate: RateLimit, seconds: u32) -> anyhow::Result<u32> {
    let docs = per_s(rate) * f64::from(seconds);
    ensure!((50.0..=1e6).contains(&docs), "in {seconds} s {rate} are {docs} requests");
    Ok(docs as u32)
}

fn per_s(rate: RateLimit) -> f64 {
    f64::from(rate.requests()) / rate.per().as_secs_f64()
}

/// The largest count in a window, relative to the limit.
fn share(count: u64, rate: RateLimit, window_s: u32) -> f64 {
    let windows = (f64::from(window_s) / rate.per().as_secs_f64()).ceil();
    count as f64 / (windows * f64::from(rate.requests()))
}

struct SeenRate {
    used: f64,
    drain_over_ideal: f64,
    end: SimulatorStats,
}

async fn drain(
    servers: &Servers,
    rate: RateLimit,
    docs: u32,
    replicas: u16,
) -> anyhow::Result<SeenRate> {
    let limits = format!("[\"{rate}\"]");
    let settings = [("PROVIDERS__SIMULATOR__LIMITS", limits.as_str())];
    let scene = Scene::new(servers, docs, seed::ONCE, &settings).await?;
    // They wait before there is work, so that all of them use the limit from the start.
    let workers = scene.site.start_workers(replicas)?;
    all_ready(&workers).await?;
    let publishing = scene.site.publish();
    let watching = watch(&scene, rate, docs);
    let (published, seen) = tokio::join!(publishing, watching);
    published?;
    for worker in workers {
        worker.stop().await?;
    }
    seen
}

/// Waits until all workers consume.
pub(crate) async fn all_ready(workers: &[Worker]) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    for worker in workers {
        while !worker.is_ready().await {
            ensure!(Instant::now() < deadline, "a worker did not become ready");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

async fn watch(scene: &Scene, rate: RateLimit, docs: u32) -> anyhow::Result<SeenRate> {
    let docs = u64::from(docs);
    let ideal_s = docs as f64 / per_s(rate);
    let limit = Instant::now() + START_LIMIT + Duration::from_secs_f64(3.0 * ideal_s);
    let mut samples: Vec<(Instant, u64)> = Vec::new();
    let end = loop {
        let stats = scene.provider.stats().await?;
        if stats.requests > 0 {
            samples.push((Instant::now(), stats.requests));
        }
        if stats.exchanges >= docs {
            break stats;
        }
        ensure!(Instant::now() < limit, "{} of {docs} were exchanged in time", stats.exchanges);
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    let (first, last) = (samples[0].0, samples[samples.len() - 1].0);
    Ok(SeenRate {
        used: steady_per_s(&samples, docs).unwrap_or(f64::NAN) / per_s(rate),
        drain_over_ideal: (last - first).as_secs_f64() / ideal_s,
        end,
    })
}

/// Requests a second in the steady part.
fn steady_per_s(samples: &[(Instant, u64)], docs: u64) -> Option<f64> {
    let first = samples.first()?.0;
    let begin = samples.iter().find(|(at, _)| *at - first >= WARM_UP)?;
    let end = samples.iter().rfind(|(_, seen)| *seen as f64 <= docs as f64 * STEADY_SHARE)?;
    let elapsed_s = end.0.checked_duration_since(begin.0)?.as_secs_f64();
    (elapsed_s > 0.0).then(|| (end.1 - begin.1) as f64 / elapsed_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_part_excludes_the_beginning_and_the_end() {
        let start = Instant::now();
        let at = |ms: u64, seen: u64| (start + Duration::from_millis(ms), seen);
        let samples = [at(0, 50), at(2_000, 100), at(4_000, 290), at(9_000, 310)];
        assert_eq!(steady_per_s(&samples, 310), Some(95.0));
        assert_eq!(steady_per_s(&samples[..1], 310), None);
    }

    #[test]
    fn the_largest_count_is_a_share_of_what_the_window_allows() {
        let rate = |text: &str| text.parse::<RateLimit>().unwrap();
        assert!((share(150, rate("200/s"), 1) - 0.75).abs() < 1e-9);
        assert!((share(6_000, rate("200/s"), 60) - 0.5).abs() < 1e-9);
        assert!((share(300, rate("300/min"), 1) - 1.0).abs() < 1e-9);
    }
}
