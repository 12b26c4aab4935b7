//! The server's time without asking for it each time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::MongoStore;
use crate::domain::Timestamp;
use crate::domain::clock_offset::ClockOffset;
use crate::ports::StoreError;

/// The server's clock as far as its earlier answers tell.
#[derive(Debug)]
pub(super) struct ServerClock {
    started: Instant,
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    offset: ClockOffset,
    asked_at: Duration,
}

/// After so long the server is asked again.
const ASK_EVERY: Duration = Duration::from_secs(5);

impl ServerClock {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), known: Mutex::new(None) }
    }

    /// The time, if the server was asked lately.
    fn now(&self) -> Option<Timestamp> {
        let now = self.started.elapsed();
        let known = self.known().filter(|known| now < known.asked_at + ASK_EVERY)?;
        Some(known.offset.server(now).timestamp())
    }

    fn learn(&self, time: Timestamp, sent: Duration, received: Duration) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut offset = known.map(|known| known.offset);
        match &mut offset {
            Some(offset) => offset.learn(time, sent, received),
            None => offset = Some(ClockOffset::of(time, sent, received)),
        }
        *known = offset.map(|offset| Known { offset, asked_at: received });
    }

    fn known(&self) -> Option<Known> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another server may answer from now on.
    pub(super) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl MongoStore {
    /// The server's clock, which is asked only now and then.
    pub(super) async fn estimated_now(
        &self,
        operation: &'static str,
    ) -> Result<Timestamp, StoreError> {
        if let Some(now) = self.clock.now() {
            return Ok(now);
        }
        let sent = self.clock.started.elapsed();
        let now = self.server_now(operation).await?;
        self.clock.learn(now, sent, self.clock.started.elapsed());
        Ok(now)
    }
}
