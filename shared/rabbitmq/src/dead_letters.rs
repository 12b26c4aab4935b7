//! Looking through a dead queue without changing it.
//!
//! A consumer takes messages and acknowledges none; closing its channel puts them back in their
//! place. A consumer and not `basic.get`: each get is a consumer of its own to a quorum queue, and
//! what many consumers held goes back in no order. One consumer can hold so many and no more, so a
//! long queue is taken in blocks, each by a consumer on a channel of its own, and the channels are
//! closed one after the other, oldest first. The order holds only if all were taken: a part would go
//! behind the rest. So the rest is taken before the close, and one look takes at a time.

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

/// How long the next message may take. After that, someone else has taken what was counted, or the
/// broker is stuck. It reads a whole block before it sends the first of it.
const BROWSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long messages may take to be back in their queue. After that, someone else has taken them.
const RETURN_TIMEOUT: Duration = Duration::from_secs(3);
/// Messages that one consumer takes. What one consumer holds goes back in order; between blocks, a
/// busy broker before 4.0 may swap them, since it says that a channel is closed before what it held
/// is back. lapin keeps what it is sent, about 4 kB each, and two blocks may be on their way.
const BLOCK: u16 = 5_000;

const READ: &str = "read dead letters";
const CLOSE: &str = "close dead letters";

/// A browse through a provider's dead letters.
pub(super) struct RabbitDeadLetters {
    provider: ProviderId,
    look: Option<LetterBrowse>,
    /// What [`DeadLetters::next`] returned last.
    current: Option<lapin::Acker>,
    cutoff: u64,
}

/// The broker's side of it.
struct LetterBrowse {
    session: Arc<Session>,
    queue: ShortString,
    browse_mutex: BrowseMutex,
    /// None while others may look.
    only: Option<BrowseLock>,
    /// Whether others may look only when all is back.
    to_the_end: bool,
    /// Oldest first.
    blocks: Vec<Block>,
    /// How many of the blocks have been read; the next one is being read.
    finished: usize,
    /// Messages up to the cut-off that are still to be read.
    left: u64,
    /// Messages up to the cut-off that go back.
    kept: u64,
    /// Whether nothing will be removed: what is removed makes room in its block, for messages that
    /// come after those of the next.
    ahead: bool,
}

/// Messages that one consumer holds.
struct Block {
    channel: Channel,
    consumer: Consumer,
    /// Messages read.
    read: u16,
    /// Messages read and not removed.
    held: u64,
    /// Whether the consumer was told to take no more.
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

    /// Takes no more, and keeps what it holds.
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
    /// Begins a browse at `queue`.
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
    /// The next message, None at the cut-off or if others emptied the queue meanwhile.
    async fn next(&mut self) -> Result<Option<Delivery>, QueueError> {
        while self.left > 0 {
            self.open_blocks().await?;
            let Some(block) = self.blocks.get_mut(self.finished) else { continue };
            match tokio::time::timeout(BROWSE_TIMEOUT, block.consumer.next()).await {
                Ok(Some(Ok(delivery))) => {
                    self.left -= 1;
                    block.read = block.read.saturating_add(1);
                    block.held += 1;
                    // The block is in its consumer's hands. What is removed may take its time, and
                    // others see the rest meanwhile.
                    if !self.to_the_end {
                        self.only = None;
                    }
                    // What is removed makes room, and the next block's messages would come here
                    // while that one is being opened.
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
        // The broker fills the next one while this one is being read.
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
            // It would take again what the blocks before it give back.
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

    /// The broker closes a channel before it has put back what the channel held. Whoever looks next
    /// must find it, and the next block must not overtake it.
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
                reason: "there is none at hand: it was removed before, none was read, or this is a look only"
                    .to_owned(),
            });
        };
        match acker.ack(BasicAckOptions::default()).await {
            Ok(true) => {
                if let Some(look) = &mut self.look {
                    look.kept = look.kept.saturating_sub(1);
                    // What was read last is in the last block: the next one is opened by reading on.
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
