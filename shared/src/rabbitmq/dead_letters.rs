//! Looking through a dead queue without changing it.
//!
//! One consumer takes all messages up to the cut-off and acknowledges none; closing the channel puts
//! them back in their place. One consumer and not `basic.get`: each get is a consumer of its own to
//! a quorum queue, and what many consumers held goes back in no order. Where the queue has no
//! delivery limit to count against (before 4.0) the order holds only if all were taken: a part would
//! go to the back. There, the rest is taken before the close.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};

use super::errors::explain;
use super::headers;
use super::names::short;
use super::session::Session;
use crate::domain::{DeadLetter, ProviderId};
use crate::ports::{DeadLetters, QueueError};

/// How long the next message may take. After that, someone else has taken what was counted.
const PATIENCE: Duration = Duration::from_secs(3);

const CLOSE: &str = "close dead letters";

/// A look through a provider's dead letters.
pub(super) struct RabbitDeadLetters {
    provider: ProviderId,
    look: Option<Look>,
    /// What [`DeadLetters::next`] returned last.
    current: Option<lapin::Acker>,
    cutoff: u64,
}

/// The broker's side of it.
struct Look {
    session: Arc<Session>,
    channel: Channel,
    queue: ShortString,
    consumer: Consumer,
    /// Messages up to the cut-off that go back.
    kept: u64,
    /// Messages up to the cut-off.
    left: u64,
    /// Whether the rest has to be taken before the close.
    order_needs_all: bool,
}

impl RabbitDeadLetters {
    /// Begins a look at `queue`.
    pub(super) async fn open(
        operation: &'static str,
        session: &Arc<Session>,
        provider: &ProviderId,
        queue: &str,
        order_needs_all: bool,
    ) -> Result<Self, QueueError> {
        let channel = session.channel(operation).await?;
        let queue = short(operation, queue)?;
        let cutoff = ready(operation, session, &channel, &queue).await?;
        let look = if cutoff == 0 {
            None
        } else {
            let prefetch = u16::try_from(cutoff).unwrap_or(u16::MAX);
            let bounding = channel.basic_qos(prefetch, BasicQosOptions::default());
            session.ask(operation, bounding).await?;
            let (tag, options) = (ShortString::from(""), BasicConsumeOptions::default());
            let consuming =
                channel.basic_consume(queue.clone(), tag, options, FieldTable::default());
            let consumer = session.ask(operation, consuming).await?;
            let session = Arc::clone(session);
            let kept = cutoff;
            Some(Look { session, channel, queue, consumer, left: cutoff, kept, order_needs_all })
        };
        Ok(Self { provider: provider.clone(), look, current: None, cutoff })
    }
}

impl Look {
    /// The next message, None at the cut-off or if others emptied the queue meanwhile.
    async fn next(&mut self) -> Result<Option<Delivery>, QueueError> {
        const OPERATION: &str = "read dead letters";
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match tokio::time::timeout(PATIENCE, self.consumer.next()).await {
            Ok(Some(Ok(delivery))) => Ok(Some(delivery)),
            Ok(Some(Err(error))) => Err(explain(OPERATION, &error)),
            Ok(None) => Err(QueueError::Unavailable {
                operation: OPERATION,
                reason: "the connection was lost, or the queue was deleted".to_owned(),
            }),
            Err(_) => {
                self.left = 0;
                Ok(None)
            }
        }
    }

    async fn close(mut self) -> Result<(), QueueError> {
        if self.order_needs_all {
            while self.next().await?.is_some() {}
        }
        let closing = self.channel.close(200, "OK".into());
        self.session.ask(CLOSE, closing).await?;
        self.wait_until_back().await
    }

    /// The broker closes a channel before it has put back what the channel held. Whoever looks next
    /// must find it.
    async fn wait_until_back(&self) -> Result<(), QueueError> {
        let channel = self.session.channel(CLOSE).await?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while ready(CLOSE, &self.session, &channel, &self.queue).await? < self.kept
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// How many messages wait in a queue.
async fn ready(
    operation: &'static str,
    session: &Session,
    channel: &Channel,
    queue: &ShortString,
) -> Result<u64, QueueError> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asking = channel.queue_declare(queue.clone(), options, FieldTable::default());
    Ok(u64::from(session.ask(operation, asking).await?.message_count()))
}

#[async_trait]
impl DeadLetters for RabbitDeadLetters {
    fn cutoff(&self) -> u64 {
        self.cutoff
    }

    async fn next(&mut self) -> Result<Option<DeadLetter>, QueueError> {
        self.current = None;
        let Some(look) = &mut self.look else {
            return Ok(None);
        };
        let Some(delivery) = look.next().await? else {
            return Ok(None);
        };
        self.current = Some(delivery.acker);
        Ok(Some(headers::read(&self.provider, delivery.data, &delivery.properties)))
    }

    async fn remove(&mut self) -> Result<(), QueueError> {
        const OPERATION: &str = "remove a dead letter";
        let Some(acker) = self.current.take() else {
            return Err(QueueError::Refused {
                operation: OPERATION,
                reason: "there is none at hand: it was removed before, or none was read".to_owned(),
            });
        };
        match acker.ack(BasicAckOptions::default()).await {
            Ok(true) => {
                if let Some(look) = &mut self.look {
                    look.kept -= 1;
                }
                Ok(())
            }
            Ok(false) => Err(QueueError::Unavailable {
                operation: OPERATION,
                reason: "the channel is closed; the dead letter is still there".to_owned(),
            }),
            Err(error) => Err(explain(OPERATION, &error)),
        }
    }

    async fn close(mut self: Box<Self>) -> Result<(), QueueError> {
        match self.look.take() {
            Some(look) => look.close().await,
            None => Ok(()),
        }
    }
}

impl Drop for RabbitDeadLetters {
    /// As `close`, in the background.
    fn drop(&mut self) {
        if let Some(look) = self.look.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if let Err(error) = look.close().await {
                    tracing::debug!(%error, "dead letters go back with their channel");
                }
            });
        }
    }
}
