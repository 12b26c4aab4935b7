//! `scale`: a drain at several numbers of workers.

use anyhow::ensure;

use crate::args::ScaleArgs;
use crate::drain::{Load, measure, raw_rates, report_bounds};
use crate::provider::ProviderWire;
use crate::report::{Report, say};
use crate::{Servers, seed};

pub(crate) async fn run(servers: &Servers, args: &ScaleArgs) -> anyhow::Result<Report> {
    ensure!(!args.workers.contains(&0), "--workers: at least 1 each");
    say("measuring each stage alone");
    let rates = raw_rates(servers, args.docs).await?;
    let mut report = Report::new("scale");
    report.text("store", servers.stores.what());
    report.text("broker", &servers.broker.what);
    report.count("docs", args.docs);
    report.count("latency_ms", args.latency_ms);
    rates.report(&mut report);
    let load = Load {
        docs: args.docs,
        refreshed: seed::ONCE,
        latency_ms: args.latency_ms,
        wire: ProviderWire::Plain,
    };
    let mut rows = Vec::new();
    let mut first = None;
    for &workers in &args.workers {
        say(&format!("measuring a drain by {workers} workers"));
        let (drained, in_flight) = measure(servers, load, workers).await?;
        let per_s = drained.refreshes_per_s;
        let first_per_s = *first.get_or_insert(per_s);
        let mut row = Report::default();
        row.count("workers", workers);
        row.number("refreshes_per_s", per_s);
        row.number("of_the_first", per_s / first_per_s);
        row.number("ratio", per_s / rates.bound_per_s());
        report_bounds(&mut row, &rates, workers, in_flight, args.latency_ms);
        row.number("worker_cpu_us_per_refresh", drained.worker_cpu_us);
        row.number("workers_rss_mib", drained.rss_mib.iter().sum());
        row.number("worker_rss_mib", drained.rss_mib.iter().copied().fold(0.0, f64::max));
        rows.push(row);
    }
    report.rows("scale", rows);
    Ok(report)
}
