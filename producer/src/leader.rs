//! Leader election: one of several producers publishes, the others stand by.
//!
//! Two leaders at once do no harm, because a duplicate job costs a lookup. So the lead is not
//! checked at every step: a producer that finds it has lost the lead stops.

use std::time::Duration;

use evergrant_ports::{LeaderElection, StoreError};

/// The name of the role for which producers compete.
const ROLE: &str = "producer";

/// A producer that competes for the lead.
pub(crate) struct Candidate<'a> {
    pub(crate) election: &'a dyn LeaderElection,
    /// The producer's name, which no other process has.
    pub(crate) name: &'a str,
    /// How long the lead lasts without renewal.
    pub(crate) lease: Duration,
}

impl Candidate<'_> {
    /// Waits until this producer leads, however long the store is unavailable.
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
                Err(error) => {
                    tracing::warn!(%error, "cannot reach the store to compete for the lead: trying again")
                }
            }
            tokio::time::sleep(self.pace()).await;
        }
    }

    /// Renews the lead. Returns when another producer has it.
    pub(crate) async fn deposed(&self) {
        loop {
            tokio::time::sleep(self.pace()).await;
            match self.lead().await {
                Ok(true) => {}
                Ok(false) => return tracing::warn!("another producer has taken the lead"),
                Err(error) => {
                    tracing::warn!(%error, "the lead was not renewed and may run out: trying again")
                }
            }
        }
    }

    /// Gives up the lead, so that a standby takes over at once.
    pub(crate) async fn resign(&self) {
        let resigning = self.election.resign(ROLE, self.name);
        let resigned = tokio::time::timeout(RESIGN_TIMEOUT, resigning).await;
        if !matches!(resigned, Ok(Ok(()))) {
            tracing::debug!("the lead was not given up: it ends when its time runs out");
        }
    }

    async fn lead(&self) -> Result<bool, StoreError> {
        self.election.lead(ROLE, self.name, self.lease).await
    }

    /// Renews the lead three times within its duration.
    fn pace(&self) -> Duration {
        self.lease / 3
    }
}

/// How long a stopping producer waits for the store.
const RESIGN_TIMEOUT: Duration = Duration::from_secs(2);
