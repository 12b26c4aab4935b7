//! Acknowledges deliveries. All that arrive until the writer is free form one request.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::super::failure::Failure;
use super::acks::{Ack, AckReply};
use super::consumer::Consumer;
use super::table;
use evergrant_ports::{DeliveryAcker, QueueError};

/// Removes a message that the consumer holds. The reply comes when that is on the disk.
fn acknowledge(consumer: &Arc<Consumer>, message: i64) -> oneshot::Receiver<AckReply> {
    let (sender, answer) = oneshot::channel();
    if consumer.acks.add(Ack { message, sender }) {
        tokio::spawn(acknowledge_all(Arc::clone(consumer)));
    }
    answer
}

/// Acknowledges all that arrive meanwhile. One task wakes all callers, which costs less than if the
/// writer's thread did.
async fn acknowledge_all(consumer: Arc<Consumer>) {
    let taking = Arc::clone(&consumer);
    let written = consumer.inner.database.ask(move |connection| {
        let acknowledged = taking.acks.take().into_iter().map(|ack| {
            let held = table::acknowledge(connection, taking.id, ack.message);
            (ack, held)
        });
        Ok(acknowledged.collect::<Vec<_>>())
    });
    match consumer.inner.database.answered(written.await) {
        Ok(acknowledged) => acknowledged.into_iter().for_each(|(ack, held)| ack.answer(held)),
        // It may not have begun. Those that were taken get their reply by being dropped.
        Err(failure) => {
            consumer.acks.take().into_iter().for_each(|ack| ack.answer(Err(failure.clone())));
        }
    }
}

/// The right to acknowledge one delivery. It keeps the consumer alive.
pub(super) struct SqliteAcker {
    pub(super) consumer: Arc<Consumer>,
    pub(super) message: i64,
}

#[async_trait]
impl DeliveryAcker for SqliteAcker {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        const OPERATION: &str = "ack";
        let Self { consumer, message } = *self;
        let dropped = |_| Err(Failure::unavailable("the write was given up"));
        match acknowledge(&consumer, message).await.unwrap_or_else(dropped) {
            Ok(true) => {
                consumer.release_one();
                Ok(())
            }
            Ok(false) => Err(QueueError::Unavailable {
                operation: OPERATION,
                reason: "the delivery was given to another consumer".to_owned(),
            }),
            Err(failure) => {
                consumer.lose();
                Err(failure.in_queue(OPERATION))
            }
        }
    }
}
