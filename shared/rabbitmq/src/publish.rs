//! Publishes with confirms.
//!
//! A channel is used by one caller at a time. lapin attaches a returned message to whichever
//! confirm it handles next, and it numbers messages before it queues them. On a shared channel, a
//! caller could get the result of another.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use tokio::sync::Semaphore;

use super::errors::Failure;
use super::session::Session;
use evergrant_ports::QueueError;

/// The most unconfirmed messages on one channel.
const WINDOW: usize = 500;
/// The most channels, and so the most concurrent callers; others wait.
const CHANNELS: usize = 32;

const PERSISTENT: u8 = 2;

/// A message and its destination.
pub(super) struct Message {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) body: Vec<u8>,
    pub(super) headers: FieldTable,
}

/// Publishes on a connection of its own: a broker that is short of memory or disk stops reading
/// from publishing connections, and acknowledgements must still reach it then.
pub(super) struct MessagePublisher {
    session: Session,
    turns: Semaphore,
    idle: Mutex<Vec<Channel>>,
}

impl MessagePublisher {
    pub(super) fn new(session: Session) -> Self {
        Self { session, turns: Semaphore::new(CHANNELS), idle: Mutex::default() }
    }

    /// Publishes all of `messages`, and returns when the broker has confirmed that each is in its
    /// queue.
    pub(super) async fn publish(
        &self,
        operation: &'static str,
        messages: &[Message],
    ) -> Result<(), Failure> {
        let Ok(_turn) = self.turns.acquire().await else {
            let reason = "the publisher is closed".to_owned();
            return Err(QueueError::Refused { operation, reason }.into());
        };
        let connection = self.session.connection(operation).await?;
        if connection.status().blocked() {
            return Err(blocked(operation).into());
        }
        let channel = match self.take_idle() {
            Some(channel) => channel,
            None => self.open(operation).await?,
        };
        let sent = send_all(operation, &self.session, &channel, messages).await;
        match sent {
            Ok(()) => self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(channel),
            // A channel with unanswered messages is not reused: it is dropped, which closes it.
            Err(Failure::Other(QueueError::Unavailable { .. }))
                if connection.status().blocked() =>
            {
                return Err(blocked(operation).into());
            }
            Err(_) => {}
        }
        sent
    }

    /// Whether only one queue failed, and the broker still accepts messages as far as is known.
    pub(super) async fn is_open(&self) -> bool {
        self.session.is_open().await
    }

    fn take_idle(&self) -> Option<Channel> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Channels of a lost connection are dropped here.
        idle.retain(|channel| channel.status().connected());
        idle.pop()
    }

    async fn open(&self, operation: &'static str) -> Result<Channel, QueueError> {
        let channel = self.session.channel(operation).await?;
        let selecting = channel.confirm_select(ConfirmSelectOptions::default());
        self.session.ask(operation, selecting).await?;
        Ok(channel)
    }
}

fn blocked(operation: &'static str) -> QueueError {
    let reason = "the broker has stopped publishers: it is short of memory or disk".to_owned();
    QueueError::Unavailable { operation, reason }
}

async fn send_all(
    operation: &'static str,
    session: &Session,
    channel: &Channel,
    messages: &[Message],
) -> Result<(), Failure> {
    let mut window = VecDeque::with_capacity(WINDOW.min(messages.len()));
    for message in messages {
        if window.len() == WINDOW
            && let Some((confirm, queue)) = window.pop_front()
        {
            confirmed(operation, session, confirm, &queue).await?;
        }
        let queue = message.routing_key.clone();
        let confirm = session.ask(operation, send(channel, message)).await?;
        window.push_back((confirm, queue));
    }
    for (confirm, queue) in window {
        confirmed(operation, session, confirm, &queue).await?;
    }
    Ok(())
}

async fn send(channel: &Channel, message: &Message) -> lapin::Result<PublisherConfirm> {
    let Message { exchange, routing_key, body, headers } = message;
    let (exchange, routing_key) = (exchange.clone(), routing_key.clone());
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_headers(headers.clone());
    // Mandatory: a message without a queue is returned instead of lost.
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    channel.basic_publish(exchange, routing_key, options, body, properties).await
}

async fn confirmed(
    operation: &'static str,
    session: &Session,
    confirm: PublisherConfirm,
    queue: &ShortString,
) -> Result<(), Failure> {
    let unconfirmed = |reason: String| QueueError::Unconfirmed { operation, reason };
    match session.ask(operation, confirm).await? {
        Confirmation::Ack(None) => Ok(()),
        // An unroutable message is returned and then acknowledged all the same. The confirm with
        // which it came may belong to another message of this call, so its own destination is used.
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            let (queue, why) = (&returned.routing_key, &returned.reply_text);
            let reason = format!("there is no queue {queue} ({why}); not prepared yet?");
            Err(Failure::Missing(unconfirmed(reason)))
        }
        Confirmation::Nack(None) => {
            let reason = format!("the broker could not store a message for the queue {queue}");
            Err(unconfirmed(reason).into())
        }
        Confirmation::NotRequested => Err(QueueError::Refused {
            operation,
            reason: "a message was sent without asking for a confirm: a bug of Evergrant, please \
                     report it"
                .to_owned(),
        }
        .into()),
    }
}
