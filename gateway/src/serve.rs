//! A gateway as a process, or as a part of one: it listens until the process ends.

use std::sync::Arc;

use anyhow::Context;
use evergrant_domain::heartbeat::ProcessRole;
use evergrant_http_server::ServerTls;
use evergrant_runtime::Process;
use evergrant_runtime::config::Config;
use evergrant_telemetry::ListenSettings;
use evergrant_worker::{OnDemandRefresher, ProviderDeps, WorkerDeps, WorkerEnd};
use tokio::net::TcpListener;

use crate::{GatewayDeps, GatewaySettings, LIMITS, WaitLimits, router};

/// A gateway that listens.
pub struct GatewayServer {
    listener: TcpListener,
    tls: Option<ServerTls>,
    deps: GatewayDeps,
    refresher: WorkerDeps,
}

impl GatewayServer {
    /// Listens where the settings say. None where the gateway is off.
    ///
    /// # Errors
    /// If a setting is wrong, or the address cannot be listened on.
    pub async fn listen(
        process: &Process,
        config: &Config,
        providers: Vec<ProviderDeps>,
    ) -> anyhow::Result<Option<Self>> {
        let settings: GatewaySettings = config.section()?;
        let ListenSettings::At(address) = settings.listen else { return Ok(None) };
        let tls = settings.tls();
        let tls = tls.map(|(certificate, key)| ServerTls::new(certificate, key)).transpose()?;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen at {address} (gateway.listen)"))?;
        let sections = config.providers.iter();
        let sign_in = sections.filter_map(|(id, it)| Some((id.clone(), it.sign_in_url.clone()?)));
        let deps = GatewayDeps {
            store: process.store.clone(),
            wait: WaitLimits { usual: settings.wait, max: settings.wait_max },
            sign_in: sign_in.collect(),
            metrics: process.metrics.clone(),
        };
        let name = format!("{}-gateway", process.name);
        let refresher = WorkerDeps::new(process, config, name, providers)?;
        tracing::info!(%address, tls = tls.is_some(), "serving access tokens");
        Ok(Some(Self { listener, tls, deps, refresher }))
    }

    /// Whether an answer that is not committed yet outlives the process.
    pub const fn has_safeguards(&self) -> bool {
        self.refresher.rescue.is_some()
    }

    /// Serves until `shutdown`; then answers who is waiting, and finishes what was sent.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> WorkerEnd {
        let Self { listener, tls, deps, refresher } = self;
        let (reports, name) = (refresher.reports.clone(), refresher.name.clone());
        let teller = reports.start_telling(deps.store.clone(), ProcessRole::Gateway, name);
        let refresher = Arc::new(OnDemandRefresher::start(refresher));
        let router = router(deps, Arc::clone(&refresher));
        // Who waits for a refresh is told to ask another replica; what was sent is finished.
        let stopping = async {
            shutdown.await;
            refresher.begin_stop();
        };
        evergrant_http_server::serve(listener, router, LIMITS, tls, stopping).await;
        let ended = refresher.stop().await;
        teller.end().await;
        ended
    }
}
