//! Consumes queues of which some cannot be consumed: each on a channel of its own, so that a broken
//! queue delays no other. It is retried while the others continue.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{join_all, select_all};
use tokio::task::JoinHandle;

use super::intake::{QueueShare, RabbitIntake};
use super::session::Session;
use evergrant_ports::{Delivery, DeliveryStream, QueueError};

/// The wait before a queue is retried.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);

/// A consumer of several independent queues.
pub(super) struct PartedIntake {
    operation: &'static str,
    session: Arc<Session>,
    parts: Vec<QueuePart>,
    missing: Vec<MissingPart>,
    /// Retries the missing queues.
    opening: JoinHandle<OpenedParts>,
}

struct QueuePart {
    queue: QueueShare,
    intake: RabbitIntake,
}

struct MissingPart {
    queue: QueueShare,
    error: QueueError,
}

/// The first event.
enum PartEvent {
    /// A part delivered, or ended.
    Delivered(Option<Delivery>, usize),
    Opened(OpenedParts),
}

/// What can be consumed and what cannot.
type OpenedParts = (Vec<QueuePart>, Vec<MissingPart>);

impl PartedIntake {
    /// Consumes those of `queues` that can be consumed.
    ///
    /// # Errors
    /// If none can be.
    pub(super) async fn open(
        operation: &'static str,
        session: &Arc<Session>,
        queues: Vec<QueueShare>,
    ) -> Result<Self, QueueError> {
        let session = Arc::clone(session);
        let (parts, missing) = open_each(operation, Arc::clone(&session), queues).await;
        for MissingPart { queue, error } in &missing {
            tracing::error!(queue = queue.name, %error, "cannot consume a queue: the others continue");
        }
        match missing.first() {
            Some(first) if parts.is_empty() => Err(first.error.clone()),
            _ => {
                let opening = open_later(operation, &session, &missing);
                Ok(Self { operation, session, parts, missing, opening })
            }
        }
    }

    /// Adds the result of a retry.
    fn take_in(&mut self, (parts, missing): OpenedParts) {
        for QueuePart { queue, .. } in &parts {
            tracing::info!(queue = queue.name, "the queue can be consumed again");
        }
        self.parts.extend(parts);
        self.missing = missing;
        self.opening = open_later(self.operation, &self.session, &self.missing);
    }
}

async fn open_each(
    operation: &'static str,
    session: Arc<Session>,
    queues: Vec<QueueShare>,
) -> OpenedParts {
    let opening = queues.into_iter().map(|queue| {
        let session = Arc::clone(&session);
        async move {
            match RabbitIntake::open(operation, &session, std::slice::from_ref(&queue)).await {
                Ok(intake) => Ok(QueuePart { queue, intake }),
                Err(failure) => Err(MissingPart { queue, error: failure.into() }),
            }
        }
    });
    let (mut parts, mut missing) = (Vec::new(), Vec::new());
    for opened in join_all(opening).await {
        match opened {
            Ok(part) => parts.push(part),
            Err(queue) => missing.push(queue),
        }
    }
    (parts, missing)
}

fn open_later(
    operation: &'static str,
    session: &Arc<Session>,
    missing: &[MissingPart],
) -> JoinHandle<OpenedParts> {
    let session = Arc::clone(session);
    let queues: Vec<_> = missing.iter().map(|missing| missing.queue.clone()).collect();
    tokio::spawn(async move {
        tokio::time::sleep(RETRY_INTERVAL).await;
        open_each(operation, session, queues).await
    })
}

#[async_trait]
impl DeliveryStream for PartedIntake {
    /// Ends when one of the consumed queues ends: which of them can be consumed is determined again
    /// then.
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            if self.parts.is_empty() {
                return None;
            }
            let is_missing = !self.missing.is_empty();
            let each = self.parts.iter_mut().map(|part| part.intake.next());
            let said = tokio::select! {
                (delivery, index, _) = select_all(each) => PartEvent::Delivered(delivery, index),
                opened = &mut self.opening, if is_missing => PartEvent::Opened(opened.ok()?),
            };
            match said {
                PartEvent::Delivered(delivery, index) => {
                    // The next call checks the others first.
                    self.parts.rotate_left(index + 1);
                    return delivery;
                }
                PartEvent::Opened(opened) => self.take_in(opened),
            }
        }
    }

    fn missing(&self) -> Vec<(String, QueueError)> {
        let missing = self.missing.iter();
        missing.map(|missing| (missing.queue.name.clone(), missing.error.clone())).collect()
    }

    async fn stop(&mut self) {
        self.opening.abort();
        join_all(self.parts.iter_mut().map(|part| part.intake.stop())).await;
        self.parts.clear();
    }
}

impl Drop for PartedIntake {
    fn drop(&mut self) {
        self.opening.abort();
    }
}
