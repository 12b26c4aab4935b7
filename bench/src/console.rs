//! `console`: response times for operators with many users and many dead letters: of `evergrant dlq
//! list` and of each page of the web console.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use evergrant_domain::{DeadLetter, DeadReason, DocumentId, Timestamp};
use evergrant_ports::{ImportDocument, wall_clock};
use evergrant_runtime::config::Config;
use evergrant_runtime::connect;
use evergrant_testkit::deployment::{PROVIDER, provider};
use evergrant_testkit::program::TestProgram;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use crate::args::ConsoleArgs;
use crate::broker::Broker;
use crate::report::{Report, say};
use crate::store::{Store, Stores, free_port};
use crate::usage;

/// Documents in one command.
const BATCH: usize = 1_000;
/// Dead letters that are published concurrently.
const BURIALS: usize = 256;
/// How often dead letters are listed.
const LISTS: usize = 5;
/// How often each page is requested.
const TIMES: usize = 30;
const LIMIT: Duration = Duration::from_secs(600);

/// The requests, with the names of their figures.
const PAGES: [(&str, &str); 16] = [
    ("overview", "/"),
    ("dead_letters", "/dead-letters"),
    ("dead_letters_last_page", "/dead-letters?skip=99950"),
    ("dead_letters_of_user", "/dead-letters?user=user-0000042"),
    ("confirm", "/dead-letters/confirm?do=redrive-all&reason=attempts_exhausted"),
    ("tokens", "/tokens"),
    ("tokens_mid_page", "/tokens?after=%7B%22id%22%3A500000%7D"),
    ("tokens_of_user", "/tokens?user=user-0000777"),
    ("tokens_that_failed", "/tokens?status=failed&provider=simulator"),
    ("tokens_by_email", "/tokens?email=user-05*"),
    ("tokens_due", "/tokens?due=7days"),
    ("tokens_expiring", "/tokens?expires=7days"),
    ("token", "/tokens/show?id=500"),
    ("providers", "/providers"),
    ("workers", "/workers"),
    ("audit", "/audit"),
];

pub(crate) async fn run(
    args: &ConsoleArgs,
    servers: Option<(&Broker, &Stores)>,
) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir().context("a folder")?;
    let file = format!("sqlite:{}", folder.path().join("evergrant.db").display());
    let store: Option<Store> = match servers {
        Some((_, stores)) => Some(stores.fresh().await?),
        None => None,
    };
    let store_url = store.as_ref().map_or(file.as_str(), |store| store.url.as_str());
    let queue_url = servers.map_or(file.as_str(), |(broker, _)| broker.url.as_str());
    let name = format!("bench-{}", uuid::Uuid::new_v4().simple());
    let variables = [
        ("STORE__URL", store_url),
        ("STORE__DATABASE", &name),
        ("QUEUE__URL", queue_url),
        ("QUEUE__PREFIX", &name),
        ("PROVIDERS__SIMULATOR__TOKEN_URL", "http://127.0.0.1:9/token"),
        ("PROVIDERS__SIMULATOR__CLIENT_ID", "bench"),
        ("PROVIDERS__SIMULATOR__CLIENT_SECRET", "bench"),
        ("PROVIDERS__SIMULATOR__LIMITS", r#"["100/s"]"#),
        ("TELEMETRY__LOG_LEVEL", "warn"),
    ]
    .map(|(name, value)| (format!("EVERGRANT_{name}"), value.to_owned()))
    .to_vec();
    let read = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let config = Config::from_parts(None, read, &[]).context("the programs' settings")?;
    fill(&config, args).await?;

    let mut report = Report::new("console");
    report.text("store", servers.map_or("sqlite".to_owned(), |(_, stores)| stores.what()));
    report.text("broker", servers.map_or("sqlite".to_owned(), |(broker, _)| broker.what.clone()));
    report.count("users", args.users);
    report.count("dead_letters", args.dead);
    say("measuring evergrant dlq list");
    list(&variables, &folder.path().join("list.log"), &mut report).await?;
    say("measuring the console");
    let address = format!("127.0.0.1:{}", free_port()?);
    let log = folder.path().join("console.log");
    let mut console =
        TestProgram::start("evergrant", &["console", "--listen", &address], &variables, log);
    let rows = measure(&mut console, &format!("http://{address}"), args, &mut report).await?;
    report.number("rss_mib", usage::peak_rss_mib(console.id())?);
    report.rows("pages", rows);
    console.terminate().await;
    Ok(report)
}

/// Measures the duration and memory of `evergrant dlq list`.
async fn list(
    variables: &[(String, String)],
    log: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut times_ms = Vec::with_capacity(LISTS);
    let mut rss_mib = 0.0_f64;
    for _ in 0..LISTS {
        let began = Instant::now();
        let mut list = TestProgram::start("evergrant", &["dlq", "list"], variables, log.to_owned());
        while list.is_running() {
            // It may end in between.
            rss_mib = rss_mib.max(usage::peak_rss_mib(list.id()).unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        times_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
        let said = list.logged();
        ensure!(said.contains("malformed_document"), "evergrant dlq list says: {said}");
    }
    times_ms.sort_by(f64::total_cmp);
    report.number("dlq_list_ms", times_ms[LISTS / 2]);
    report.number("dlq_list_max_ms", times_ms[LISTS - 1]);
    report.number("dlq_list_rss_mib", rss_mib);
    Ok(())
}

/// Imports users, some of whom are dead letters.
async fn fill(config: &Config, args: &ConsoleArgs) -> anyhow::Result<()> {
    let store = connect::store(config).await?;
    let queue = connect::queue(config, "bench".to_owned())?;
    store.prepare().await?;
    queue.prepare().await?;
    say(&format!("storing {} users", args.users));
    let ordinals: Vec<u32> = (0..args.users).collect();
    for batch in ordinals.chunks(BATCH) {
        store.import(batch.iter().map(|n| user(*n, args.dead)).collect()).await?;
    }
    say(&format!("publishing {} dead letters", args.dead));
    stream::iter(0..args.dead)
        .map(|ordinal| {
            let queue = &queue;
            async move { queue.bury(&letter(ordinal)).await }
        })
        .buffer_unordered(BURIALS)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

fn user(ordinal: u32, dead: u32) -> ImportDocument {
    let now = wall_clock();
    // Two weeks' worth of refreshes, evenly spread.
    let due = now.plus(Duration::from_secs(u64::from(ordinal) * 97 % (14 * 86_400)));
    let date = |at: Timestamp| json!({ "$date": at.to_string() });
    let document = json!({
        "_id": ordinal,
        "userId": format!("user-{ordinal:07}"),
        "email": format!("user-{ordinal:07}@example.com"),
        "access_token": format!("bench_at_{ordinal:044}"),
        "refresh_token": format!("bench_rt_{ordinal:044}"),
        "evergrant": {
            "provider": PROVIDER,
            "status": if ordinal < dead { "failed" } else { "active" },
            "generation": 1,
            "next_refresh_at": date(due),
            "refresh_idle_until": date(due.plus(Duration::from_secs(7 * 86_400))),
        }
    });
    match document {
        Value::Object(fields) => ImportDocument(fields),
        _ => unreachable!("an object"),
    }
}

fn letter(ordinal: u32) -> DeadLetter {
    let reasons =
        [DeadReason::GrantDead, DeadReason::AttemptsExhausted, DeadReason::MalformedDocument];
    let at = wall_clock();
    DeadLetter {
        body: br#"{"version":1}"#.to_vec(),
        provider: provider(),
        id: Some(DocumentId::Integer(i64::from(ordinal))),
        reason: reasons[ordinal as usize % reasons.len()],
        http_status: Some(500),
        code: Some("server_error".to_owned()),
        description: Some("the provider failed in some way that it describes".to_owned()),
        attempts: 20,
        first_failed_at: at,
        last_failed_at: at,
        redrive_count: 0,
        worker: Some("worker-1".to_owned()),
    }
}

async fn measure(
    console: &mut TestProgram,
    url: &str,
    args: &ConsoleArgs,
    report: &mut Report,
) -> anyhow::Result<Vec<Report>> {
    let http = evergrant_testkit::http_client();
    let began = Instant::now();
    while http.get(format!("{url}/healthz")).send().await.is_err() {
        ensure!(console.is_running(), "the console ended: {}", console.logged());
        ensure!(began.elapsed() < LIMIT, "the console does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    report.number("ready_ms", began.elapsed().as_secs_f64() * 1_000.0);
    // Until all dead letters were browsed.
    let began = Instant::now();
    let reason = u64::from(args.dead.div_ceil(3));
    loop {
        let page = get(&http, &format!("{url}/dead-letters")).await?.1;
        let digits: String = page.chars().filter(|c| *c != '\u{202f}').collect();
        if digits.contains(&format!("data-label=\"Count\">{reason}<")) {
            break;
        }
        ensure!(began.elapsed() < LIMIT, "the dead letters are not shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    report.number("dead_letters_shown_after_ms", began.elapsed().as_secs_f64() * 1_000.0);
    let mut rows = Vec::new();
    for (name, path) in PAGES {
        rows.push(page(&http, url, name, path).await);
    }
    Ok(rows)
}

/// A page without an answer is reported as well, because the others are still of interest.
async fn page(http: &reqwest::Client, url: &str, name: &str, path: &str) -> Report {
    let (mut times_ms, mut size) = (Vec::with_capacity(TIMES), 0);
    let mut row = Report::default();
    row.text("page", name);
    for _ in 0..TIMES {
        match get(http, &format!("{url}{path}")).await {
            Ok((took, body)) => {
                times_ms.push(took.as_secs_f64() * 1_000.0);
                size = body.len();
            }
            Err(error) => {
                row.text("failed", format!("{error:#}"));
                return row;
            }
        }
    }
    times_ms.sort_by(f64::total_cmp);
    row.number("median_ms", times_ms[TIMES / 2]);
    row.number("max_ms", times_ms[TIMES - 1]);
    row.number("kib", size as f64 / 1_024.0);
    row
}

async fn get(http: &reqwest::Client, url: &str) -> anyhow::Result<(Duration, String)> {
    let began = Instant::now();
    let answer = http.get(url).send().await.with_context(|| format!("ask for {url}"))?;
    let status = answer.status();
    let body = answer.text().await.with_context(|| format!("read {url}"))?;
    ensure!(status.is_success(), "{url}: {status}");
    Ok((began.elapsed(), body))
}
