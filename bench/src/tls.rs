//! What TLS costs: the same drain in the clear, over HTTP/1.1 and over HTTP/2.

use crate::Servers;
use crate::drain::{self, Load};
use crate::provider::ProviderWire;
use crate::report::{Report, say};

const WIRES: [ProviderWire; 3] =
    [ProviderWire::Plain, ProviderWire::TlsHttp1, ProviderWire::TlsHttp2];
/// The latencies of the provider in milliseconds: none, and that of a real one.
const LATENCIES_MS: [u64; 2] = [0, 100];

/// A row for each latency and each way to speak to the provider.
pub(crate) async fn measure(
    servers: &Servers,
    load: Load,
    workers: u16,
) -> anyhow::Result<Vec<Report>> {
    let mut rows = Vec::new();
    for latency_ms in LATENCIES_MS {
        for wire in WIRES {
            say(&format!("measuring {} at {latency_ms} ms", wire.as_str()));
            let load = Load { latency_ms, wire, ..load };
            let (drained, _) = drain::measure(servers, load, workers).await?;
            let mut row = Report::default();
            row.text("wire", wire.as_str());
            row.count("latency_ms", latency_ms);
            row.number("refreshes_per_s", drained.refreshes_per_s);
            row.number("worker_cpu_us_per_refresh", drained.worker_cpu_us);
            row.number("provider_cpu_us_per_refresh", drained.provider_cpu_us);
            rows.push(row);
        }
    }
    Ok(rows)
}
