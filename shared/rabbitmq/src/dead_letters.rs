//! Browses a dead queue: reads it without consuming.
//!
//! A consumer takes messages and acknowledges none; closing its channel returns them to their
//! positions. `basic.get` is no alternative: each get is a consumer of its own to a quorum queue,
//! and messages of many consumers return in no particular order. A consumer can hold a limited
//! number, so a long queue is taken in blocks, each by a consumer on its own channel, and the
//! channels are closed one after the other, oldest first. The order is kept only if all messages
//! were taken, because a part would go behind the rest. So the rest is taken before the close, and
//! only one browse runs at a time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};

use super::browse_lock::{BrowseLock, BrowseMutex};
use super::errors::explain;
use super::headers;
use super::names::short;
use super::session::Session;
use evergrant_domain::{DeadLetter, ProviderId};
use evergrant_ports::{DeadLetters, QueueError};

/// How long the next message may take. After that, another client has taken what was counted, or
/// the broker is stuck. The broker reads a whole block before it sends the first message.
const BROWSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long messages may take to return to their queue. After that, another client has taken them.
const RETURN_TIMEOUT: Duration = Duration::from_secs(3);
/// Messages for one consumer. They return in order within a block; between blocks, a busy broker
/// before 4.0 may swap them, because it confirms the close of a channel before its messages are
/// back. lapin buffers what it receives, about 4 kB each, and two blocks may be under way.
const BLOCK: u16 = 5_000;

const READ: &str = "read dead letters";
const CLOSE: &str = "close dead letters";

/// A browse through a provider's dead letters.
pub(super) struct RabbitDeadLetters {
    provider: ProviderId,
    look: Option<LetterBrowse>,
    /// The message that [`DeadLetters::next`] returned last.
    current: Option<lapin::Acker>,
    cutoff: u64,
}

/// The broker's side of a browse.
struct LetterBrowse {
    session: Arc<Session>,
    queue: ShortString,
    browse_mutex: BrowseMutex,
    /// None while others may browse.
    only: Option<BrowseLock>,
    /// Whether others may browse only when all is back.
    to_the_end: bool,
    /// Oldest first.
    blocks: Vec<Block>,
    /// How many of the blocks were read; the next one is being read.
    finished: usize,
    /// Messages up to the cut-off that are still to be read.
    left: u64,
    /// Messages up to the cut-off that go back.
    kept: u64,
    /// Whether nothing will be removed. A removed message makes room in its block for messages that
    /// come after those of the next one.
    ahead: bool,
}

/// Messages that one consumer holds.
struct Block {
    channel: Channel,
    consumer: Consumer,
    /// Messages read.
    read: u16,
    /// Messages that were read and not removed.
    held: u64,
    /// Whether the consumer was cancelled.
    cancelled: bool,
}

impl Block {
    async fn open(session: &Session, queue: &ShortString) -> Result<Self, QueueError> {
        let channel = session.channel(READ).await?;
        let bounding = channel.basic_qos(BLOCK, BasicQosOptions::default());
        session.ask(READ, bounding).await?;
        let (tag, options) = (ShortString::from(""), BasicConsumeOptions::default());
        let consuming = channel.basic_consume(queue.clone(), tag, options, FieldTable::default());
        let consumer = session.ask(READ, consuming).await?;
        Ok(Self { channel, consumer, read: 0, held: 0, cancelled: false })
    }

    /// Ends deliveries, and keeps the messages.
    async fn cancel(&mut self, session: &Session) -> Result<(), QueueError> {
        if !self.cancelled {
            self.cancelled = true;
            let tag = self.consumer.tag();
            let cancelling = self.channel.basic_cancel(tag, BasicCancelOptions::default());
            session.ask(READ, cancelling).await?;
        }
        Ok(())
    }
}

impl RabbitDeadLetters {
    /// Begins a browse of `queue`.
    pub(super) async fn open(
        operation: &'static str,
        session: &Arc<Session>,
        browse_mutex: &BrowseMutex,
        provider: &ProviderId,
        queue: &str,
    ) -> Result<Self, QueueError> {
        let queue = short(operation, queue)?;
        let only = BrowseLock::wait(session, browse_mutex, queue.as_str()).await;
        let cutoff = ready(operation, session, &queue).await?;
        let look = (cutoff > 0).then(|| LetterBrowse {
            session: Arc::clone(session),
            queue,
            browse_mutex: Arc::clone(browse_mutex),
            only: Some(only),
            to_the_end: false,
            blocks: Vec::new(),
            finished: 0,
            left: cutoff,
            kept: cutoff,
            ahead: false,
        });
        Ok(Self { provider: provider.clone(), look, current: None, cutoff })
    }
}

impl LetterBrowse {
    /// The next message. None at the cut-off, or if other clients emptied the queue meanwhile.
    async fn next(&mut self) -> Result<Option<Delivery>, QueueError> {
        while self.left > 0 {
            self.open_blocks().await?;
            let Some(block) = self.blocks.get_mut(self.finished) else { continue };
            match tokio::time::timeout(BROWSE_TIMEOUT, block.consumer.next()).await {
                Ok(Some(Ok(delivery))) => {
                    self.left -= 1;
                    block.read = block.read.saturating_add(1);
                    block.held += 1;
                    // The whole block is taken. Removing may take time, so others may see the rest
                    // meanwhile.
                    if !self.to_the_end {
                        self.only = None;
                    }
                    // Removed messages make room, and the next block's messages would come here
                    // while it is being opened.
                    if block.read >= BLOCK {
                        block.cancel(&self.session).await?;
                    }
                    return Ok(Some(delivery));
                }
                Ok(Some(Err(error))) => return Err(explain(READ, &error)),
                Ok(None) if block.cancelled => self.finished += 1,
                Ok(None) => return Err(unavailable("the queue was deleted or lost its leader")),
                Err(_) if ready(READ, &self.session, &self.queue).await? == 0 => self.left = 0,
                Err(_) => return Err(unavailable("the broker holds dead letters back")),
            }
        }
        Ok(None)
    }

    async fn open_blocks(&mut self) -> Result<(), QueueError> {
        if self.blocks.len() == self.finished {
            self.be_alone().await;
            self.blocks.push(Block::open(&self.session, &self.queue).await?);
        }
        // The broker fills the next block while this one is being read.
        if self.ahead
            && let [current] = &self.blocks[self.finished..]
            && self.left > u64::from(BLOCK.saturating_sub(current.read))
        {
            self.blocks.push(Block::open(&self.session, &self.queue).await?);
        }
        Ok(())
    }

    async fn be_alone(&mut self) {
        if self.only.is_none() {
            let queue = self.queue.as_str();
            self.only = Some(BrowseLock::wait(&self.session, &self.browse_mutex, queue).await);
        }
    }

    async fn close(mut self) -> Result<(), QueueError> {
        self.be_alone().await;
        self.to_the_end = true;
        while self.next().await?.is_some() {}
        if let Some(block) = self.blocks.last_mut() {
            // Otherwise it would take what earlier blocks return.
            block.cancel(&self.session).await?;
        }
        let mut back = ready(CLOSE, &self.session, &self.queue).await?;
        let last = self.blocks.len().saturating_sub(1);
        for (index, block) in self.blocks.iter().enumerate() {
            let closing = block.channel.close(200, "OK".into());
            self.session.ask(CLOSE, closing).await?;
            back += block.held;
            // The last one may hold more than was read.
            let wanted = if index == last { back.max(self.kept) } else { back };
            self.wait_until_back(wanted).await?;
        }
        Ok(())
    }

    /// The broker closes a channel before its messages are back. The next browse must find them,
    /// and the next block must not overtake them.
    async fn wait_until_back(&self, wanted: u64) -> Result<(), QueueError> {
        let deadline = tokio::time::Instant::now() + RETURN_TIMEOUT;
        while ready(CLOSE, &self.session, &self.queue).await? < wanted
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

fn unavailable(reason: &str) -> QueueError {
    QueueError::Unavailable { operation: READ, reason: reason.to_owned() }
}

/// How many messages wait in a queue.
async fn ready(
    operation: &'static str,
    session: &Session,
    queue: &ShortString,
) -> Result<u64, QueueError> {
    let channel = session.channel(operation).await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asking = channel.queue_declare(queue.clone(), options, FieldTable::default());
    Ok(u64::from(session.ask(operation, asking).await?.message_count()))
}

#[async_trait]
impl DeadLetters for RabbitDeadLetters {
    fn cutoff(&self) -> u64 {
        self.cutoff
    }

    fn browse_only(&mut self) {
        if let Some(look) = &mut self.look {
            look.ahead = true;
            look.to_the_end = true;
        }
    }

    async fn next(&mut self) -> Result<Option<DeadLetter>, QueueError> {
        self.current = None;
        let Some(look) = &mut self.look else {
            return Ok(None);
        };
        let Some(delivery) = look.next().await? else {
            return Ok(None);
        };
        self.current = (!look.ahead).then_some(delivery.acker);
        Ok(Some(headers::read(&self.provider, delivery.data, &delivery.properties)))
    }

    async fn remove(&mut self) -> Result<(), QueueError> {
        const OPERATION: &str = "remove a dead letter";
        let Some(acker) = self.current.take() else {
            return Err(QueueError::Refused {
                operation: OPERATION,
                reason: "there is no current letter: it was removed before, none was read, or this is a browse only"
                    .to_owned(),
            });
        };
        match acker.ack(BasicAckOptions::default()).await {
            Ok(true) => {
                if let Some(look) = &mut self.look {
                    look.kept = look.kept.saturating_sub(1);
                    // The last read message is in the last block: reading on opens the next one.
                    if let Some(block) = look.blocks.last_mut() {
                        block.held = block.held.saturating_sub(1);
                    }
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
    /// Like `close`, in the background.
    fn drop(&mut self) {
        if let Some(look) = self.look.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if let Err(error) = look.close().await {
                    tracing::debug!(%error, "dead letters were not returned: they go back with their channel");
                }
            });
        }
    }
}
