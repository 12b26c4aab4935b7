//! Waiting for the servers at start.

use crate::process::ShutdownSignal;
use evergrant_ports::Backoff;
use evergrant_ports::{JobQueue, QueueError, Store, StoreError};
use evergrant_telemetry::HealthChecks;

/// A server that refuses: waiting would not help.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue refuses.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Prepares store and queue, and waits for a server that is away. False if `shutdown` began first.
///
/// # Errors
/// A server that refuses: a wrong password, a queue with other arguments.
pub async fn prepare(
    store: &dyn Store,
    queue: &dyn JobQueue,
    health: &HealthChecks,
    shutdown: ShutdownSignal,
) -> Result<bool, StartError> {
    health.set("store", false);
    health.set("queue", false);
    let mut backoff = Backoff::for_a_server();
    while let Err(error) = store.prepare().await {
        if matches!(error, StoreError::Refused { .. }) {
            return Err(error.into());
        }
        tracing::warn!(%error, "waiting for the token store");
        if !sleep(&mut backoff, &shutdown).await {
            return Ok(false);
        }
    }
    health.set("store", true);
    let mut backoff = Backoff::for_a_server();
    while let Err(error) = queue.prepare().await {
        if matches!(error, QueueError::Refused { .. } | QueueError::Mismatch { .. }) {
            return Err(error.into());
        }
        tracing::warn!(%error, "waiting for the job queue");
        if !sleep(&mut backoff, &shutdown).await {
            return Ok(false);
        }
    }
    health.set("queue", true);
    Ok(true)
}

/// False if the shutdown began.
async fn sleep(backoff: &mut Backoff, shutdown: &ShutdownSignal) -> bool {
    tokio::select! {
        () = tokio::time::sleep(backoff.next_wait()) => true,
        () = shutdown.clone().wait() => false,
    }
}
