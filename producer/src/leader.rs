//! Of several producers one leads and publishes; the others stand by.
//!
//! Two leaders for a moment do no harm, since a duplicate job costs a lookup. So the lead is not
//! checked at every step: whoever finds that it has lost it stops.

use std::time::Duration;

use evergrant_ports::{LeaderElection, StoreError};

/// The lead in the store that producers compete for.
const ROLE: &str = "producer";

/// A producer's part in the competition.
pub(crate) struct Candidate<'a> {
    pub(crate) election: &'a dyn LeaderElection,
    /// The producer's name, unique to the process.
    pub(crate) name: &'a str,
    /// How long the lead lasts unless it is kept.
    pub(crate) lease: Duration,
}

impl Candidate<'_> {
    /// Waits until this producer leads. A store that is away is waited for.
    pub(crate) async fn elected(&self) {
        let mut stands_by = false;
        loop {
            match self.lead().await {
                Ok(true) => return tracing::info!("this producer leads"),
                Ok(false) if !stands_by => {
                    stands_by = true;
                    tracing::info!("another producer leads: standing by");
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "cannot compete for the lead: trying again"),
            }
            tokio::time::sleep(self.pace()).await;
        }
    }

    /// Keeps the lead. Returns when another producer has it.
    pub(crate) async fn deposed(&self) {
        loop {
            tokio::time::sleep(self.pace()).await;
            match self.lead().await {
                Ok(true) => {}
                Ok(false) => return tracing::warn!("another producer has taken the lead"),
                Err(error) => tracing::warn!(%error, "the lead may run out"),
            }
        }
    }

    /// Gives the lead to whoever stands by.
    pub(crate) async fn resign(&self) {
        let resigning = self.election.resign(ROLE, self.name);
        let resigned = tokio::time::timeout(RESIGN_TIMEOUT, resigning).await;
        if !matches!(resigned, Ok(Ok(()))) {
            tracing::debug!("the lead was not given up: it runs out");
        }
    }

    async fn lead(&self) -> Result<bool, StoreError> {
        self.election.lead(ROLE, self.name, self.lease).await
    }

    /// Three tries within a lease.
    fn pace(&self) -> Duration {
        self.lease / 3
    }
}

/// How long a producer that ends waits for the store.
const RESIGN_TIMEOUT: Duration = Duration::from_secs(2);
