//! Jobs: published with confirms in a window, then consumed and acknowledged.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use super::per_s;

/// A body of a job's length.
const BODY: &[u8] = br#"{"v":1,"provider":"simulator","id":{"$oid":"0123456789abcdef01234567"},"generation":0,"enqueued_at":"2026-11-25T12:00:00.000Z"}"#;

/// A quorum queue and a channel to it.
pub(crate) struct RawQueue {
    connection: Connection,
    channel: Channel,
    name: ShortString,
}

impl RawQueue {
    /// A new queue at the broker.
    pub(crate) async fn declare(url: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let name: ShortString = format!("bench.raw.{}", uuid::Uuid::new_v4().simple()).into();
        let mut arguments = FieldTable::default();
        let quorum = AMQPValue::LongString(LongString::from("quorum"));
        arguments.insert("x-queue-type".into(), quorum);
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.clone(), options, arguments).await.context("declare a queue")?;
        Ok(Self { connection, channel, name })
    }

    /// Publishes `count` jobs, at most `window` unconfirmed; returns jobs a second.
    pub(crate) async fn publish(&self, count: usize, window: usize) -> anyhow::Result<f64> {
        let started = Instant::now();
        let mut confirms = VecDeque::with_capacity(window);
        for _ in 0..count {
            if confirms.len() == window
                && let Some(confirm) = confirms.pop_front()
            {
                confirmed(confirm).await?;
            }
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default().with_delivery_mode(2);
            let (exchange, queue) = (ShortString::from(""), self.name.clone());
            let sent = self.channel.basic_publish(exchange, queue, options, BODY, properties);
            confirms.push_back(sent.await.context("publish")?);
        }
        for confirm in confirms {
            confirmed(confirm).await?;
        }
        Ok(per_s(count, started.elapsed()))
    }

    /// Consumes and acknowledges `count` jobs, a batch at a time; returns jobs a second. Deletes
    /// the queue afterwards.
    pub(crate) async fn consume(
        self,
        count: usize,
        prefetch: u16,
        batch: usize,
    ) -> anyhow::Result<f64> {
        let channel = self.connection.create_channel().await?;
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let started = Instant::now();
        let options = BasicConsumeOptions::default();
        let consumer =
            channel.basic_consume(self.name.clone(), "".into(), options, FieldTable::default());
        let mut consumer = consumer.await.context("consume")?;
        for number in 1..=count {
            let delivery = consumer.next().await.context("the consumer ended")??;
            if number % batch == 0 || number == count {
                let all = BasicAckOptions { multiple: true };
                ensure!(delivery.acker.ack(all).await?, "not acknowledged");
            }
        }
        // The broker answers this after it has handled the acknowledgements.
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let rate = per_s(count, started.elapsed());
        self.delete().await?;
        Ok(rate)
    }

    /// Deletes the queue and its content.
    pub(crate) async fn delete(self) -> anyhow::Result<()> {
        self.channel.queue_delete(self.name, QueueDeleteOptions::default()).await?;
        Ok(())
    }
}

async fn confirmed(confirm: lapin::PublisherConfirm) -> anyhow::Result<()> {
    let confirmation = confirm.await.context("confirm")?;
    ensure!(matches!(confirmation, Confirmation::Ack(None)), "a job was not confirmed");
    Ok(())
}
