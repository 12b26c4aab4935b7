//! `publish`: the producer publishes jobs for all due documents.

use std::time::{Duration, Instant};

use anyhow::ensure;
use evergrant_producer::ProducerSettings;

use crate::args::PublishArgs;
use crate::rates::{Rate, Rates};
use crate::raw::queue::RawQueue;
use crate::raw::{mark, scan};
use crate::report::{Report, say};
use crate::site::Site;
use crate::{Servers, seed, usage};

/// Jobs and marks for measuring a raw stage.
const SAMPLE: usize = 50_000;
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(3_600);

/// Measurements of the producer.
struct PublishResult {
    docs_per_s: f64,
    cpu_us: f64,
    rss_mib: f64,
}

pub(crate) async fn run(servers: &Servers, args: &PublishArgs) -> anyhow::Result<Report> {
    let store = servers.stores.fresh().await?;
    let docs = args.docs.to_string();
    let settings = [("PRODUCER__MAX_QUEUED", docs.as_str())];
    // The producer does not contact the provider.
    let site = Site::new(servers, &store, "http://127.0.0.1:9/token", &settings).await?;
    say(&format!("storing {docs} documents"));
    seed::strangers(&site.collection, args.docs).await?;
    say("measuring each stage alone");
    let rates = raw_rates(servers, &site, args.docs as usize).await?;
    say("measuring the producer");
    let published = measure(&site, args.docs).await?;
    let mut report = Report::new("publish");
    report.text("store", servers.stores.what());
    report.text("broker", &servers.broker.what);
    report.count("docs", args.docs);
    rates.report(&mut report);
    report.number("docs_per_s", published.docs_per_s);
    report.number("ratio", published.docs_per_s / rates.bound_per_s());
    report.number("cpu_us_per_doc", published.cpu_us);
    report.number("rss_mib", published.rss_mib);
    Ok(report)
}

async fn raw_rates(servers: &Servers, site: &Site, docs: usize) -> anyhow::Result<Rates> {
    let window = site.config.section::<ProducerSettings>()?.window;
    let sample = docs.min(SAMPLE);
    let (scan, documents) = scan::measure(&site.collection, docs, sample).await?;
    let queue = RawQueue::declare(&servers.broker.url).await?;
    let publish = queue.publish(sample, window).await?;
    queue.delete().await?;
    let mark = mark::measure(&site.collection, &documents, window).await?;
    Ok(Rates(vec![
        Rate { stage: "publish", per_s: publish },
        Rate { stage: "scan", per_s: scan },
        Rate { stage: "mark", per_s: mark },
    ]))
}

/// One pass, from the start of the process to its end.
async fn measure(site: &Site, docs: u32) -> anyhow::Result<PublishResult> {
    let started = Instant::now();
    let mut producer = site.start_publishing();
    let (mut cpu_us, mut rss_mib) = (0, 0.0);
    while producer.is_running() {
        // The last measurement before its end is missing, which is negligible.
        if let (Ok(cpu), Ok(rss)) =
            (usage::cpu_us(producer.id()), usage::peak_rss_mib(producer.id()))
        {
            (cpu_us, rss_mib) = (cpu, rss);
        }
        ensure!(started.elapsed() < LIMIT, "the producer did not end");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let elapsed_s = started.elapsed().as_secs_f64();
    let status = producer.wait(POLL_INTERVAL).await;
    ensure!(status.success(), "the producer failed: {}", producer.logged());
    let queued = site.depth().await?;
    ensure!(queued == u64::from(docs), "{queued} jobs of {docs} are in the queue");
    Ok(PublishResult {
        docs_per_s: f64::from(docs) / elapsed_s,
        cpu_us: cpu_us as f64 / f64::from(docs),
        rss_mib,
    })
}
