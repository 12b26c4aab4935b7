//! The simulated provider, in a separate process, so that its CPU time is not counted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use evergrant_simulator::{SeedPlan, SimulatorStats};
use evergrant_testkit::program::TestProgram;
use serde_json::{Value, json};

/// The client's id and secret: the simulator's defaults.
pub(crate) const CLIENT: (&str, &str) = ("evergrant", "evergrant-simulator-secret");

const START_LIMIT: Duration = Duration::from_secs(10);

/// How it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProviderWire {
    /// HTTP/1.1 in the clear.
    Plain,
    /// HTTP/1.1 over TLS.
    TlsHttp1,
    /// HTTP/2 over TLS.
    TlsHttp2,
}

impl ProviderWire {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::TlsHttp1 => "tls_http1",
            Self::TlsHttp2 => "tls_http2",
        }
    }
}

/// A running provider. It ends when this is dropped.
pub(crate) struct Provider {
    program: TestProgram,
    http: reqwest::Client,
    wire: ProviderWire,
    /// The file of the certificate that signs itself.
    certificate: PathBuf,
    pub(crate) url: String,
}

impl Provider {
    /// Starts a provider without latency; its log goes to `folder`.
    pub(crate) async fn start(folder: &Path, wire: ProviderWire) -> anyhow::Result<Self> {
        let log = folder.join("simulator.log");
        let certificate = folder.join("certificate.pem");
        let file = certificate.display().to_string();
        let mut args = vec!["serve", "--listen", "127.0.0.1:0"];
        if wire != ProviderWire::Plain {
            args.extend(["--tls", &file]);
        }
        let program = TestProgram::start("evergrant-simulator", &args, &[], log);
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        // Its first line is its URL.
        let url = loop {
            let logged = program.logged();
            if let Some(url) = logged.lines().find(|line| line.starts_with("http")) {
                break url.to_owned();
            }
            ensure!(
                tokio::time::Instant::now() < deadline,
                "the simulator did not start: {logged}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let http = match wire {
            ProviderWire::Plain => evergrant_testkit::http_client(),
            _ => evergrant_testkit::http_client_trusting(&std::fs::read(&certificate)?),
        };
        Ok(Self { program, http, wire, certificate, url })
    }

    /// The settings of those who speak to it so: variables without their prefix.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let http2 = self.wire == ProviderWire::TlsHttp2;
        match self.wire {
            ProviderWire::Plain => Vec::new(),
            _ => vec![
                ("HTTP__CA_FILE", self.certificate.display().to_string()),
                ("HTTP__HTTP2", http2.to_string()),
            ],
        }
    }

    /// Where tokens are exchanged.
    pub(crate) fn token_url(&self) -> String {
        format!("{}/token", self.url)
    }

    /// Its statistics.
    pub(crate) async fn stats(&self) -> anyhow::Result<SimulatorStats> {
        let stats = self.http.get(format!("{}/stats", self.url)).send().await;
        stats.context("ask the simulator")?.json().await.context("read the simulator's statistics")
    }

    /// A figure counts only if each of `docs` users was refreshed exactly once. `refreshed` is the
    /// number according to the store.
    pub(crate) async fn ensure_each_once(&self, refreshed: u64, docs: u64) -> anyhow::Result<()> {
        let stats = self.stats().await?;
        ensure!(
            refreshed == docs && stats.exchanges == docs && stats.reused == 0,
            "of {docs} users {refreshed} were refreshed, by {} exchanges; {} tokens were presented \
             again",
            stats.exchanges,
            stats.reused
        );
        Ok(())
    }

    /// Sets the latency of its answers.
    pub(crate) async fn set_latency_ms(&self, latency_ms: u64) -> anyhow::Result<()> {
        let url = format!("{}/admin/faults", self.url);
        let set = self.http.post(url).json(&json!({ "latency_ms": latency_ms })).send().await;
        set.and_then(reqwest::Response::error_for_status).context("set the latency")?;
        Ok(())
    }

    /// Signs users in and returns their documents.
    pub(crate) async fn sign_in(&self, count: u32) -> anyhow::Result<Vec<Value>> {
        let plan = SeedPlan { count, ..SeedPlan::default() };
        let url = format!("{}/admin/seed", self.url);
        let answer = self.http.post(url).json(&plan).send().await;
        let answer =
            answer.and_then(reqwest::Response::error_for_status).context("sign in users")?;
        let lines = answer.text().await.context("read the users' documents")?;
        let documents: Vec<Value> =
            lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(documents.len() == count as usize, "only {} users came", documents.len());
        Ok(documents)
    }

    /// CPU time that it has used.
    pub(crate) fn cpu_us(&self) -> anyhow::Result<u64> {
        crate::usage::cpu_us(self.program.id())
    }
}
