//! The consumer's side of a queue.

use std::sync::Arc;

use async_trait::async_trait;

use super::MemoryBroker;
use super::broker::{ConsumerId, NextDelivery};
use super::message::MessagePosition;
use evergrant_ports::{Delivery, DeliveryAcker, DeliveryStream, QueueError};

/// A consumer. It exists while this or an unacknowledged delivery of it does.
pub(super) struct MemoryIntake {
    consumer: Arc<Consumer>,
}

struct Consumer {
    broker: MemoryBroker,
    id: ConsumerId,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.broker.lock().close(self.id);
    }
}

impl MemoryIntake {
    pub(super) fn new(broker: MemoryBroker, id: ConsumerId) -> Self {
        Self { consumer: Arc::new(Consumer { broker, id }) }
    }
}

impl Drop for MemoryIntake {
    fn drop(&mut self) {
        self.consumer.broker.lock().stop(self.consumer.id);
    }
}

#[async_trait]
impl DeliveryStream for MemoryIntake {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let next = self.consumer.broker.lock().next(self.consumer.id);
            match next {
                NextDelivery::Ended => return None,
                NextDelivery::Message(place, message) => {
                    return Some(Delivery {
                        body: message.body,
                        redelivered: message.returns > 0,
                        acker: Box::new(MemoryAcker {
                            consumer: Arc::clone(&self.consumer),
                            place,
                        }),
                    });
                }
                // A notification before the wait is kept for it.
                NextDelivery::Wait(changed, None) => changed.notified().await,
                NextDelivery::Wait(changed, Some(wake_at)) => tokio::select! {
                    biased;
                    () = changed.notified() => {}
                    () = tokio::time::sleep_until(wake_at) => {}
                },
            }
        }
    }

    async fn stop(&mut self) {
        self.consumer.broker.lock().stop(self.consumer.id);
    }
}

/// The right to acknowledge one delivery.
struct MemoryAcker {
    consumer: Arc<Consumer>,
    place: MessagePosition,
}

#[async_trait]
impl DeliveryAcker for MemoryAcker {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        if self.consumer.broker.lock().ack(self.consumer.id, self.place) {
            return Ok(());
        }
        let reason = "the consumer of the delivery is gone".to_owned();
        Err(QueueError::Unavailable { operation: "ack", reason })
    }
}
