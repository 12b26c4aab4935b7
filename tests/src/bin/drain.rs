//! How many users one worker process refreshes in a second, as a share of what its requests under
//! way allow: `exchanges_in_flight ÷ latency`.
//!
//! ```text
//! cargo build --release --workspace --bins
//! cargo run --release -p evergrant-tests --bin drain -- 6000 100
//! ```
//!
//! The arguments are the number of users and the provider's latency in milliseconds. The servers are
//! found as the tests find them.
#![allow(clippy::print_stdout, reason = "the figures are this program's output")]

use std::time::{Duration, Instant};

use evergrant_simulator::{Config, SeedPlan, Settings};
use evergrant_tests::deployment::{Deployment, eventually};
use evergrant_tests::{mongodb, rabbitmq};

const IN_FLIGHT: u64 = 64;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u32>().expect("a number"));
    let users = args.next().unwrap_or(6_000);
    let latency_ms = u64::from(args.next().unwrap_or(100));

    let settings = Settings { latency_ms, ..Settings::default() };
    let provider = Config { settings, ..Config::default() };
    let mut evergrant =
        Deployment::new(&rabbitmq::V4.url().await, &mongodb::url().await, provider).await;
    evergrant.set("TELEMETRY__LOG_LEVEL", "warn");
    evergrant.set("WORKER__EXCHANGES_IN_FLIGHT", &IN_FLIGHT.to_string());
    let file = evergrant.seed_file(SeedPlan { count: users, ..SeedPlan::default() });
    assert!(evergrant.evergrant(&["import", &file]).await.status.success());
    assert!(evergrant.run("evergrant-producer", &["--once"]).await.status.success());

    let exchanges = || evergrant.simulator.stats().exchanges;
    let mut worker = evergrant.start("evergrant-worker", &[]);
    while exchanges() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let started = Instant::now();
    eventually("all are exchanged", Duration::from_secs(600), || async {
        exchanges() == u64::from(users)
    })
    .await;
    let seconds = started.elapsed().as_secs_f64();
    eventually("all are committed", Duration::from_secs(60), || async {
        evergrant.unfinished().await == 0
    })
    .await;
    worker.terminate().await;
    let report = evergrant.judge().await;
    let (per_s, bound) =
        (f64::from(users) / seconds, IN_FLIGHT as f64 * 1_000.0 / latency_ms as f64);
    println!(
        "{}",
        serde_json::json!({
            "users": users, "latency_ms": latency_ms, "in_flight": IN_FLIGHT,
            "refreshes_per_s": per_s.round(), "bound_per_s": bound.round(),
            "ratio": (per_s / bound * 100.0).round() / 100.0,
            "live": report.live, "lost": report.lost, "double_exchanges": report.double_exchanges,
        })
    );
}
