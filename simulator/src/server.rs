//! The simulator as a server: bound, then run until it is told to stop.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, ToSocketAddrs};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::clock::{SystemClock, TimeSource};
use crate::config::SimulatorConfig;
use crate::handle::SimulatorHandle;
use crate::http::{Acceptor, App, CertificateError, Connection, router, self_signed};
use crate::provider::Provider;
use crate::settings_error::SettingsError;

/// How long requests in flight may take after the shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the simulator could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The settings to start with cannot be.
    #[error("cannot start: {0}")]
    Settings(#[from] SettingsError),
    /// The address cannot be listened on.
    #[error("cannot listen: {0}")]
    Bind(#[source] std::io::Error),
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Serving has failed.
    #[error("cannot serve: {0}")]
    Serve(#[source] std::io::Error),
}

/// A simulator that listens and does not answer yet.
pub struct Simulator {
    listener: TcpListener,
    address: SocketAddr,
    provider: Arc<Provider>,
    tls: Option<TlsAcceptor>,
}

impl Simulator {
    /// Checks the settings and binds the address; port 0 takes a free one.
    pub async fn bind(
        config: SimulatorConfig,
        listen: impl ToSocketAddrs,
    ) -> Result<Self, SimulatorError> {
        Self::bind_with_clock(config, listen, Arc::new(SystemClock::new())).await
    }

    /// Like [`Simulator::bind`], with a clock that a test can move.
    pub async fn bind_with_clock(
        config: SimulatorConfig,
        listen: impl ToSocketAddrs,
        clock: Arc<dyn TimeSource>,
    ) -> Result<Self, SimulatorError> {
        config.settings.validate()?;
        let listener = TcpListener::bind(listen).await.map_err(SimulatorError::Bind)?;
        let address = listener.local_addr().map_err(SimulatorError::Bind)?;
        let provider = Arc::new(Provider::new(config, clock));
        Ok(Self { listener, address, provider, tls: None })
    }

    /// Has it speak TLS, and HTTP/2 with clients that want it, by a certificate that signs itself; returns
    /// that as PEM, for those who shall trust it.
    pub fn use_tls(&mut self) -> Result<String, SimulatorError> {
        let (certificate, tls) = self_signed(self.address)?;
        self.tls = Some(tls);
        Ok(certificate)
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// `http://` or `https://`, and the address.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The other end, for the same process.
    pub fn handle(&self) -> SimulatorHandle {
        SimulatorHandle { provider: self.provider.clone() }
    }

    /// Serves until `shutdown` is ready, then lets requests in flight finish, for five seconds at
    /// most.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), SimulatorError> {
        let stop = CancellationToken::new();
        let app = App { handle: self.handle(), stop: stop.clone() };
        let service = router(app).into_make_service_with_connect_info::<Connection>();
        let serve = axum::serve(Acceptor::new(self.listener, self.tls), service)
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future();
        let mut serve = std::pin::pin!(serve);
        tokio::select! {
            served = &mut serve => return served.map_err(SimulatorError::Serve),
            () = shutdown => stop.cancel(),
        }
        match tokio::time::timeout(DRAIN_TIMEOUT, serve).await {
            Ok(served) => served.map_err(SimulatorError::Serve),
            Err(_) => {
                tracing::warn!("requests were still in flight when the time to drain was over");
                Ok(())
            }
        }
    }
}
