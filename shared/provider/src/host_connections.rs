//! A bound of the connections to a host: a counting semaphore for each.
//!
//! Over HTTP/1.1 a request has a connection to itself, so as many requests are let in as there may be
//! connections. Over HTTP/2 all share one, and none waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

/// Beyond so many hosts those that nobody uses are dropped.
const HOSTS_MAX: usize = 1_024;

/// The connections of a client.
pub(super) struct HostConnections {
    per_host: u32,
    hosts: Mutex<HashMap<String, Arc<HostState>>>,
}

struct HostState {
    free: Arc<Semaphore>,
    speaks_http2: AtomicBool,
}

/// The right to use a connection, until it is dropped.
pub(super) struct ConnectionPermit {
    host: Arc<HostState>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl HostConnections {
    pub(super) fn new(per_host: u32) -> Self {
        Self { per_host, hosts: Mutex::default() }
    }

    /// Waits for a connection to the host of `url` for so long at most.
    ///
    /// # Errors
    /// That none was free.
    pub(super) async fn permit(
        &self,
        url: &Url,
        within: Duration,
    ) -> Result<ConnectionPermit, String> {
        let host = self.host(url);
        if host.speaks_http2.load(Ordering::Relaxed) {
            return Ok(ConnectionPermit { host, _permit: None });
        }
        let free = Arc::clone(&host.free).acquire_owned();
        match tokio::time::timeout(within, free).await {
            Ok(Ok(permit)) => Ok(ConnectionPermit { host, _permit: Some(permit) }),
            _ => Err(format!(
                "none of the {} connections to the provider's host was free: raise \
                 http.connections_per_host",
                self.per_host
            )),
        }
    }

    fn host(&self, url: &Url) -> Arc<HostState> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= HOSTS_MAX {
            hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        let name = url[url::Position::BeforeScheme..url::Position::AfterPort].to_owned();
        let new = || {
            let permits = usize::try_from(self.per_host).unwrap_or(Semaphore::MAX_PERMITS);
            let free = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
            Arc::new(HostState { free, speaks_http2: AtomicBool::new(false) })
        };
        Arc::clone(hosts.entry(name).or_insert_with(new))
    }
}

impl ConnectionPermit {
    /// Takes note of what the host speaks.
    pub(super) fn note_version(&self, version: reqwest::Version) {
        let speaks_http2 = version == reqwest::Version::HTTP_2;
        self.host.speaks_http2.store(speaks_http2, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_host_has_so_many_connections_and_another_has_its_own() {
        let connections = HostConnections::new(1);
        let [one, other] =
            ["https://a.example/t", "https://b.example/t"].map(|url| url.parse().unwrap());
        let held = connections.permit(&one, WAIT).await;
        assert!(connections.permit(&one, WAIT).await.err().unwrap().contains("1 connections"));
        assert!(connections.permit(&other, WAIT).await.is_ok());
        drop(held);
        assert!(connections.permit(&one, WAIT).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn over_http2_nobody_waits() {
        let connections = HostConnections::new(1);
        let url = "https://a.example/t".parse().unwrap();
        let held = connections.permit(&url, WAIT).await.unwrap();
        held.note_version(reqwest::Version::HTTP_2);
        assert!(connections.permit(&url, WAIT).await.is_ok());
        held.note_version(reqwest::Version::HTTP_11);
        assert!(connections.permit(&url, WAIT).await.is_err());
    }
}
