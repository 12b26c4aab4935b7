//! The HTTP client of a provider: a connection pool that is replaced when its connections have reached
//! their age, so that a name that leads elsewhere by now is followed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::redirect;
use secrecy::ExposeSecret;

use super::Provider;
use super::host_connections::{ConnectionPermit, HostConnections};

/// What we call ourselves.
const USER_AGENT: &str = concat!("evergrant/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pool of a provider's connections.
#[derive(Clone)]
pub(super) struct HttpClient(Arc<Inner>);

struct Inner {
    provider: Arc<Provider>,
    connections: HostConnections,
    current: Mutex<ClientAge>,
}

/// A client, and when another takes its place.
struct ClientAge {
    client: reqwest::Client,
    renew_at: Instant,
}

impl HttpClient {
    /// # Errors
    /// If our client's certificate is no such thing, or this machine's certificates cannot be read.
    pub(super) fn new(provider: &Arc<Provider>) -> Result<Self, String> {
        let client = build(provider)?;
        let renew_at = Instant::now() + provider.http.connection_max_age;
        let connections = HostConnections::new(provider.http.connections_per_host);
        let current = Mutex::new(ClientAge { client, renew_at });
        Ok(Self(Arc::new(Inner { provider: Arc::clone(provider), connections, current })))
    }

    /// The client for the next request. Requests under way keep the connections that they have.
    pub(super) fn current(&self) -> reqwest::Client {
        let mut current = self.0.current();
        let now = Instant::now();
        if now >= current.renew_at {
            // Until the new one is there. Meanwhile the old one does.
            current.renew_at = now + self.0.provider.http.connection_max_age;
            let inner = Arc::clone(&self.0);
            // It reads this machine's certificates, which takes some milliseconds.
            tokio::task::spawn_blocking(move || inner.renew());
        }
        current.client.clone()
    }

    /// Waits until a connection to the host of a request may be used.
    ///
    /// # Errors
    /// Why none may.
    pub(super) async fn permit(&self, url: &url::Url) -> Result<ConnectionPermit, String> {
        self.0.connections.permit(url, connect_timeout(&self.0.provider)).await
    }
}

impl Inner {
    fn current(&self) -> MutexGuard<'_, ClientAge> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self) {
        match build(&self.provider) {
            Ok(client) => self.current().client = client,
            Err(reason) => {
                let provider = self.provider.id.as_str();
                tracing::warn!(provider, reason, "cannot renew connections, and keep the old ones");
            }
        }
    }
}

/// How long a request may wait for its turn, and then again for a connection. Both together leave at least
/// half of the time to the answer: who has no connection by then has sent nothing, and knows it.
fn connect_timeout(provider: &Provider) -> Duration {
    CONNECT_TIMEOUT.min(provider.request_timeout / 4)
}

/// A client that sends a request once: it follows no redirect and repeats nothing that was sent.
fn build(provider: &Provider) -> Result<reqwest::Client, String> {
    let user_agent = provider.request.user_agent.as_deref();
    let client = provider.http.client_builder().map_err(|error| error.to_string())?;
    let mut client = client
        .connect_timeout(connect_timeout(provider))
        .timeout(provider.request_timeout)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(user_agent.unwrap_or(USER_AGENT));
    if let Some(certificate) = &provider.client_certificate {
        let identity = reqwest::Identity::from_pem(certificate.expose_secret().as_bytes());
        let wrong = |_| "client_certificate_file must hold a certificate and its key as PEM";
        client = client.identity(identity.map_err(|error| wrong(error).to_owned())?);
    }
    client.build().map_err(|error| error.without_url().to_string())
}
