//! The start of a process: what every program of Evergrant wires alike.

use std::sync::Arc;

use crate::config::{Config, ConfigError};
use crate::connect::{self, ConnectError};
use crate::process::{self, ShutdownSignal};
use evergrant_ports::{Backoff, JobQueue, QueueError, Store, StoreError};
use evergrant_telemetry::{HealthChecks, HttpError, ProcessMetrics, init_logs, serve};

/// A process that has begun.
pub struct Process {
    /// No other process has this name.
    pub name: String,
    /// Where documents live.
    pub store: Arc<dyn Store>,
    /// How jobs travel.
    pub queue: Arc<dyn JobQueue>,
    /// What it counts.
    pub metrics: ProcessMetrics,
    /// What of it works.
    pub health: HealthChecks,
    /// Its end.
    pub shutdown: ShutdownSignal,
}

/// What came of a start.
pub enum ProcessStart {
    /// Store and queue are there.
    Ready(Process),
    /// It was to end before they were.
    ShutDown(ShutdownSignal),
}

/// A process that cannot start: waiting would not help.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] std::io::Error),
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An adapter cannot be had.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue refuses.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Process {
    /// Starts a daemon: logs, signals, health and metrics, store and queue, which are waited for. `program` is
    /// what a broker shows of it, beside its name.
    ///
    /// # Errors
    /// [`StartError`]: a wrong setting, an address that is taken, a server that refuses.
    pub async fn start(config: &Config, program: &str) -> Result<ProcessStart, StartError> {
        init_logs(&config.telemetry)?;
        config.warn_of_weaknesses()?;
        let shutdown = process::shutdown().map_err(StartError::Signals)?;
        let (metrics, health) = (ProcessMetrics::default(), HealthChecks::default());
        // Before a file is touched: a second process that is started by mistake ends here.
        let served = serve(
            config.telemetry.listen,
            metrics.clone(),
            health.clone(),
            shutdown.clone().wait(),
        );
        if let Some(address) = served.await? {
            tracing::info!(%address, "serving health and metrics");
        }
        let connected = Self::connect(config, program, shutdown).await?;
        let process = Self { metrics, health, ..connected };
        Ok(match process.wait_until_ready().await? {
            true => ProcessStart::Ready(process),
            false => ProcessStart::ShutDown(process.shutdown),
        })
    }

    /// The same for a program that ends by itself, or that serves in a way of its own: neither server is
    /// waited for.
    ///
    /// # Errors
    /// If a URL or a file cannot be used.
    pub async fn connect(
        config: &Config,
        program: &str,
        shutdown: ShutdownSignal,
    ) -> Result<Self, ConnectError> {
        let name = process::unique_name();
        Ok(Self {
            store: connect::store(config).await?,
            queue: connect::queue(config, format!("{program} {name}"))?,
            name,
            metrics: ProcessMetrics::default(),
            health: HealthChecks::default(),
            shutdown,
        })
    }

    /// Prepares store and queue, and waits for a server that is away. False if the shutdown began first.
    ///
    /// # Errors
    /// A server that refuses: a wrong password, a queue with other arguments.
    pub async fn wait_until_ready(&self) -> Result<bool, StartError> {
        self.health.set("store", false);
        self.health.set("queue", false);
        let mut backoff = Backoff::for_a_server();
        while let Err(error) = self.store.prepare().await {
            if matches!(error, StoreError::Refused { .. }) {
                return Err(error.into());
            }
            tracing::warn!(%error, "waiting for the token store");
            if !self.sleep(&mut backoff).await {
                return Ok(false);
            }
        }
        self.health.set("store", true);
        let mut backoff = Backoff::for_a_server();
        while let Err(error) = self.queue.prepare().await {
            if matches!(error, QueueError::Refused { .. } | QueueError::Mismatch { .. }) {
                return Err(error.into());
            }
            tracing::warn!(%error, "waiting for the job queue");
            if !self.sleep(&mut backoff).await {
                return Ok(false);
            }
        }
        self.health.set("queue", true);
        Ok(true)
    }

    /// False if the shutdown began.
    async fn sleep(&self, backoff: &mut Backoff) -> bool {
        tokio::select! {
            () = tokio::time::sleep(backoff.next_wait()) => true,
            () = self.shutdown.clone().wait() => false,
        }
    }
}
