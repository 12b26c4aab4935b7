//! A connection that is rebuilt when it is needed and found closed.
//!
//! lapin's own recovery stays off: it covers connections but neither channels nor consumers, so
//! callers would need this anyway, and two recoveries at once would conflict.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::{Channel, Connection};
use tokio::sync::Mutex;

use super::address::Address;
use super::connect;
use super::errors::Failure;
use evergrant_ports::QueueError;

/// How long callers get the same error after a failure: many tasks that lost the same broker must
/// not flood it.
const FAILURE_TTL: Duration = Duration::from_millis(200);

/// A connection, made when it is first needed and again when it is found closed.
pub(super) struct Session {
    address: Address,
    /// The timeout of an answer.
    pub(super) patience: Duration,
    /// Locked while connecting, so that all callers share one attempt.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    failure: Option<(Instant, QueueError)>,
}

impl Session {
    pub(super) fn new(address: Address, patience: Duration) -> Self {
        Self { address, patience, state: Mutex::default() }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The connection, alive as far as is known.
    pub(super) async fn connection(
        &self,
        operation: &'static str,
    ) -> Result<Arc<Connection>, QueueError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection
            && connection.status().connected()
        {
            return Ok(Arc::clone(connection));
        }
        state.connection = None;
        if let Some((at, error)) = &state.failure
            && at.elapsed() < FAILURE_TTL
        {
            return Err(error.clone());
        }
        match connect::connect(operation, &self.address).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *state = State { connection: Some(Arc::clone(&connection)), failure: None };
                Ok(connection)
            }
            Err(error) => {
                state.failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Whether there is a connection on which the broker accepts messages, as far as is known.
    pub(super) async fn is_open(&self) -> bool {
        let state = self.state.lock().await;
        let status = state.connection.as_ref().map(|connection| connection.status());
        status.is_some_and(|status| status.connected() && !status.blocked())
    }

    /// A new channel. It closes when its last clone is dropped, including its consumers.
    pub(super) async fn channel(&self, operation: &'static str) -> Result<Channel, QueueError> {
        let connection = self.connection(operation).await?;
        Ok(self.ask(operation, connection.create_channel()).await?)
    }

    /// Waits for the broker's answer, up to the timeout.
    pub(super) async fn ask<T>(
        &self,
        operation: &'static str,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Failure> {
        self.wait(operation, answer).await?.map_err(|error| Failure::new(operation, &error))
    }

    /// Like [`Self::ask`], with lapin's own error.
    pub(super) async fn wait<T>(
        &self,
        operation: &'static str,
        answer: impl Future<Output = T>,
    ) -> Result<T, QueueError> {
        tokio::time::timeout(self.patience, answer).await.map_err(|_| QueueError::Unavailable {
            operation,
            reason: format!("the broker did not answer within {:?}", self.patience),
        })
    }
}
