//! `seed`: asks a running provider for documents and stores them.

use anyhow::{Context, ensure};
use clap::Args;
use evergrant_simulator::{DocumentSplitter, SeedPlan, SplitError};

use super::sink::{Collection, Sink};

/// Documents that are kept until they are stored together.
const BATCH: usize = 1_000;

/// Where to get documents, how many, and where to put them.
#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    /// The provider
    #[arg(long, env = "EVERGRANT_SIMULATOR_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// How many documents
    #[arg(long)]
    count: u32,
    /// Decides which documents are dead or malformed [default: the provider's own]
    #[arg(long)]
    seed: Option<u64>,
    /// The share of documents whose grant is dead
    #[arg(long, default_value_t = 0.0)]
    dead_share: f64,
    /// The share of documents without a usable refresh token
    #[arg(long, default_value_t = 0.0)]
    malformed_share: f64,
    /// What every user id begins with
    #[arg(long, default_value = "user-")]
    prefix: String,
    /// The file to write, as JSON lines; - is standard output
    #[arg(long, required_unless_present = "mongodb_url", conflicts_with = "mongodb_url")]
    file: Option<String>,
    /// The server to write to
    #[arg(long, env = "EVERGRANT_SIMULATOR_MONGODB_URL", hide_env_values = true)]
    mongodb_url: Option<String>,
    /// The database, with --mongodb-url
    #[arg(long, default_value = "evergrant")]
    database: String,
    /// The collection, with --mongodb-url
    #[arg(long, default_value = "tokens")]
    collection: String,
}

impl SeedArgs {
    fn plan(&self) -> SeedPlan {
        SeedPlan {
            count: self.count,
            seed: self.seed,
            dead_share: self.dead_share,
            malformed_share: self.malformed_share,
            prefix: self.prefix.clone(),
        }
    }

    async fn sink(&self) -> anyhow::Result<Sink> {
        if let Some(url) = self.mongodb_url.as_deref().filter(|_| self.file.is_none()) {
            let collection = Collection::open(url, &self.database, &self.collection).await?;
            return Ok(Sink::Collection(collection));
        }
        Sink::file(self.file.as_deref().unwrap_or("-"))
    }
}

/// Streams the documents from the provider to where they belong.
pub(crate) async fn seed(args: SeedArgs) -> anyhow::Result<()> {
    let plan = args.plan();
    plan.validate()?;
    let mut sink = args.sink().await?;
    // The HTTP client's TLS has no cryptography of its own. An error says that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{}/admin/seed", args.url.trim_end_matches('/'));
    let asked = reqwest::Client::new().post(&url).json(&plan).send().await;
    let mut response = asked.context("the provider cannot be reached")?;
    let status = response.status();
    if !status.is_success() {
        anyhow::bail!("the provider answered {status}: {}", response.text().await?);
    }
    let mut splitter = DocumentSplitter::default();
    let mut batch: Vec<Vec<u8>> = Vec::with_capacity(BATCH);
    let mut written = 0;
    while let Some(bytes) = response.chunk().await.context("the provider broke off")? {
        splitter.feed(&bytes, |_, json| {
            batch.push(json.to_vec());
            Ok::<(), SplitError>(())
        })?;
        if batch.len() >= BATCH {
            written += sink.write(std::mem::take(&mut batch)).await?;
        }
    }
    splitter.finish()?;
    written += sink.write(batch).await?;
    sink.finish()?;
    ensure!(written == u64::from(args.count), "only {written} documents of {} came", args.count);
    tracing::info!(documents = written, "seeded");
    Ok(())
}
