//! Consumes work queues.

use async_trait::async_trait;
use futures::future::join_all;
use futures::stream::{self, BoxStream, SelectAll};
use futures::{FutureExt, StreamExt};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};

use std::sync::Arc;

use super::acks::Acks;
use super::delivery_priority::{DeliveryOrigin, DeliveryPriority};
use super::errors::{Failure, explain};
use super::names::short;
use super::session::Session;
use evergrant_ports::{Delivery, DeliveryStream, QueueError};

/// Deliveries of several consumers on one channel, and `None` for each that ended.
type MergedStreams = SelectAll<BoxStream<'static, ConsumerEvent>>;
/// An event of a consumer: a delivery, or `None` when it has ended.
type ConsumerEvent = Option<(DeliveryOrigin, lapin::message::Delivery)>;

/// A queue to consume.
#[derive(Clone)]
pub(super) struct QueueShare {
    pub(super) name: String,
    /// The origin of its deliveries.
    pub(super) origin: DeliveryOrigin,
    /// Its share of the prefetch.
    pub(super) prefetch: u16,
}

/// One consumer for each queue, merged into one stream.
pub(super) struct RabbitIntake {
    session: Arc<Session>,
    channel: Channel,
    acks: Acks,
    tags: Vec<ShortString>,
    merged: MergedStreams,
    /// Deliveries that have arrived.
    here: DeliveryPriority<lapin::message::Delivery>,
    /// Whether a consumer has ended, which ends all of them.
    ended: bool,
}

impl RabbitIntake {
    /// Consumes queues, each with its own prefetch.
    pub(super) async fn open(
        operation: &'static str,
        session: &Arc<Session>,
        queues: &[QueueShare],
    ) -> Result<Self, Failure> {
        let channel = session.channel(operation).await?;
        let mut tags = Vec::with_capacity(queues.len());
        let mut merged = SelectAll::new();
        for QueueShare { name, origin, prefetch } in queues {
            // It applies to consumers created after it, individually: quorum queues have no limit
            // for a whole channel.
            let bounding = channel.basic_qos(*prefetch, BasicQosOptions::default());
            session.ask(operation, bounding).await?;
            let queue = short(operation, name)?;
            let (tag, options) = (ShortString::from(""), BasicConsumeOptions::default());
            let consuming = channel.basic_consume(queue, tag, options, FieldTable::default());
            let consumer = session.ask(operation, consuming).await?;
            tags.push(consumer.tag());
            merged.push(deliveries(consumer, *origin));
        }
        Ok(Self {
            session: Arc::clone(session),
            acks: Acks::start(Arc::clone(session), channel.clone()),
            channel,
            tags,
            merged,
            here: DeliveryPriority::new(),
            ended: false,
        })
    }
}

/// Divides `prefetch` among `count` consumers, at least one each.
pub(super) fn shares(prefetch: u16, count: usize) -> impl Iterator<Item = u16> {
    let count = u16::try_from(count).unwrap_or(u16::MAX).max(1);
    let (each, left) = (prefetch / count, prefetch % count);
    // Zero would mean "no limit".
    (0..count).map(move |index| (each + u16::from(index < left)).max(1))
}

/// A consumer's deliveries, then one `None`, whether it was cancelled or failed.
fn deliveries(consumer: Consumer, origin: DeliveryOrigin) -> BoxStream<'static, ConsumerEvent> {
    let queue = consumer.queue();
    consumer
        .map(move |delivery| {
            delivery
                .inspect_err(|error| {
                    let error = explain("consume", error);
                    tracing::debug!(%queue, %error, "a consumer ended");
                })
                .ok()
                .map(|delivery| match delivery.redelivered {
                    true => (DeliveryOrigin::AnotherWorker, delivery),
                    false => (origin, delivery),
                })
        })
        .chain(stream::iter([None]))
        .boxed()
}

impl RabbitIntake {
    /// Handles an event of a consumer. None if it has ended, and with it all.
    fn take_in(&mut self, said: Option<ConsumerEvent>) -> Option<()> {
        let Some(Some((origin, delivery))) = said else {
            self.ended = true;
            return None;
        };
        self.here.push(origin, delivery);
        Some(())
    }
}

/// Returns a delivery that was not handed out.
async fn give_back(session: &Session, delivery: lapin::message::Delivery) {
    // The usual reasons against a requeue do not apply: this consumer is cancelled, so it cannot
    // get the message again, and closing the channel would count as a delivery as well.
    let options = BasicNackOptions { requeue: true, multiple: false };
    if let Err(failure) = session.ask("stop", delivery.acker.nack(options)).await {
        let error = QueueError::from(failure);
        tracing::debug!(%error, "a delivery was not returned: it goes back with its channel");
    }
}

#[async_trait]
impl DeliveryStream for RabbitIntake {
    async fn next(&mut self) -> Option<Delivery> {
        if self.ended {
            return None;
        }
        if self.here.is_empty() {
            let first = self.merged.next().await;
            self.take_in(first)?;
        }
        while let Some(more) = self.merged.next().now_or_never() {
            self.take_in(more)?;
        }
        let delivery = self.here.pop()?;
        Some(Delivery {
            body: delivery.data,
            redelivered: delivery.redelivered,
            acker: self.acks.acker(delivery.delivery_tag, delivery.acker),
        })
    }

    async fn stop(&mut self) {
        self.ended = true;
        let cancels = self.tags.drain(..).map(|tag| {
            let cancelling = self.channel.basic_cancel(tag, BasicCancelOptions::default());
            self.session.ask("stop", cancelling)
        });
        // A failed cancel means that the channel is lost, which returns everything.
        if join_all(cancels).await.iter().any(Result::is_err) {
            self.merged.clear();
            return;
        }
        // After the cancel, every stream ends. What is left in it goes to other workers now, and
        // not when the last delivery is settled.
        while let Some(delivery) = self.here.pop() {
            give_back(&self.session, delivery).await;
        }
        while let Ok(Some(delivery)) = self.session.wait("stop", self.merged.next()).await {
            if let Some((_, delivery)) = delivery {
                give_back(&self.session, delivery).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_share_the_prefetch() {
        assert_eq!(shares(10, 1).collect::<Vec<_>>(), [10]);
        assert_eq!(shares(10, 4).collect::<Vec<_>>(), [3, 3, 2, 2]);
        assert_eq!(shares(2, 4).collect::<Vec<_>>(), [1, 1, 1, 1]);
    }
}
