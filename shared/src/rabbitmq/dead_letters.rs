//! Looking through a dead queue without changing it.
//!
//! Messages are taken one by one and not acknowledged; closing the channel puts them back in their
//! place. Where the queue has no delivery limit to count against (before 4.0) that holds only if
//! all were taken: a part would go to the back. There, the rest is taken before the close.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use lapin::Channel;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};

use super::errors::explain;
use super::headers;
use super::names::short;
use super::session::Session;
use crate::domain::{DeadLetter, ProviderId};
use crate::ports::{DeadLetters, QueueError};

/// Messages asked for ahead of the reader: one by one, each would cost a round trip.
const AHEAD: usize = 64;

type Get = BoxFuture<'static, lapin::Result<Option<BasicGetMessage>>>;

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
    /// Messages that may still be asked for.
    left: u64,
    gets: FuturesOrdered<Get>,
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
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asking = channel.queue_declare(queue.clone(), options, FieldTable::default());
        let cutoff = u64::from(session.ask(operation, asking).await?.message_count());
        let look = Look {
            session: Arc::clone(session),
            channel,
            queue,
            left: cutoff,
            gets: FuturesOrdered::new(),
            order_needs_all,
        };
        Ok(Self { provider: provider.clone(), look: Some(look), current: None, cutoff })
    }
}

impl Look {
    /// The next message, None at the cut-off or if others emptied the queue meanwhile.
    async fn next(&mut self) -> Result<Option<BasicGetMessage>, QueueError> {
        const OPERATION: &str = "read dead letters";
        while self.left > 0 && self.gets.len() < AHEAD {
            self.left -= 1;
            let (channel, queue) = (self.channel.clone(), self.queue.clone());
            let options = BasicGetOptions { no_ack: false };
            self.gets.push_back(Box::pin(async move { channel.basic_get(queue, options).await }));
        }
        let Some(got) = self.session.wait(OPERATION, self.gets.next()).await? else {
            return Ok(None);
        };
        let got = got.map_err(|error| explain(OPERATION, &error))?;
        if got.is_none() {
            self.left = 0;
        }
        Ok(got)
    }

    async fn close(mut self) -> Result<(), QueueError> {
        if self.order_needs_all {
            while self.next().await?.is_some() {}
        }
        let closing = self.channel.close(200, "OK".into());
        self.session.ask("close dead letters", closing).await
    }
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
        let Some(BasicGetMessage { delivery, .. }) = look.next().await? else {
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
            Ok(true) => Ok(()),
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
