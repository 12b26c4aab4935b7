//! Consumes queues.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::super::failure::Failure;
use super::acker::SqliteAcker;
use super::consumer::Consumer;
use super::table::{self, ConsumerCapacity, FetchedMessage, Message};
use evergrant_ports::{Delivery, DeliveryStream};

/// How long an idle consumer waits before it checks for messages of other processes.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How often to check whether other processes have died.
const DEAD_CONSUMER_INTERVAL: Duration = Duration::from_secs(2);

/// The smallest number of messages per fetch, used at first and when few are consumed.
const FEWEST: usize = 2;
/// How long the messages of one fetch should last: fetched messages delay retries and are invisible
/// to other consumers.
const CHUNK_DURATION_MAX: Duration = Duration::from_millis(250);

/// How many messages to fetch, after so many have lasted this long.
fn next_chunk(chunk: usize, lasted: Duration) -> usize {
    if lasted < CHUNK_DURATION_MAX { chunk.saturating_mul(2) } else { (chunk / 2).max(FEWEST) }
}

type Answer = oneshot::Receiver<Result<FetchedMessage, Failure>>;

/// Deliveries of one consumer.
pub(super) struct SqliteIntake {
    consumer: Arc<Consumer>,
    /// Messages that are fetched and not handed out.
    ready: VecDeque<Message>,
    /// The fetch under way. Kept here, so that it is not lost with the future that started it.
    asked: Option<Answer>,
    /// The size of a fetch, and when the last one was.
    chunk: usize,
    asked_at: Instant,
    published: watch::Receiver<()>,
    /// When to check again if nothing happens.
    look_at: Instant,
    ended: bool,
}

impl SqliteIntake {
    pub(super) fn new(consumer: Consumer, published: watch::Receiver<()>) -> Self {
        Self {
            consumer: Arc::new(consumer),
            ready: VecDeque::new(),
            asked: None,
            chunk: FEWEST,
            asked_at: Instant::now(),
            published,
            look_at: Instant::now(),
            ended: false,
        }
    }

    /// Fetches messages, and from time to time ends the consumers of dead processes.
    fn ask(&mut self) -> Answer {
        let consumer = &self.consumer;
        let now = Instant::now();
        self.chunk = next_chunk(self.chunk, now - self.asked_at).min(consumer.limit);
        self.asked_at = now;
        let (inner, id) = (Arc::clone(&consumer.inner), consumer.id);
        let mut queues = consumer.queues.clone();
        // Starts with another queue each time, and gives half of the room to returning jobs, also
        // if there is room for one message only.
        let (turn, count) = (inner.turns.fetch_add(1, Ordering::Relaxed), queues.len().max(1));
        queues.rotate_left(turn % count);
        let limit = consumer.room().min(self.chunk);
        let room = ConsumerCapacity { limit, again: (limit + turn / count % 2) / 2 };
        let look_for_the_dead = inner.is_time_to_look();
        self.published.mark_unchanged();
        consumer.inner.database.ask(move |connection| {
            if look_for_the_dead {
                let database = &inner.database;
                table::end_the_dead(connection, database.path(), database.process()?)?;
            }
            table::fetch(connection, &queues, id, &room)
        })
    }

    /// Fetches early when messages are consumed fast, so that nothing waits for the disk.
    fn ask_ahead(&mut self) {
        let is_time = self.chunk > FEWEST && self.ready.len() * 2 < self.chunk;
        if is_time && self.asked.is_none() && self.consumer.room() > 0 {
            self.asked = Some(self.ask());
        }
    }

    /// Waits until there may be something to fetch.
    async fn wait(&mut self) {
        if self.consumer.room() == 0 {
            tokio::select! {
                () = self.consumer.freed() => {}
                // Dead processes are detected even if nothing is acknowledged.
                () = tokio::time::sleep(DEAD_CONSUMER_INTERVAL) => {}
            }
            return;
        }
        tokio::select! {
            _ = self.published.changed() => {}
            () = tokio::time::sleep_until(self.look_at) => {}
        }
    }

    /// Adds the result of a fetch.
    fn take_in(
        &mut self,
        answer: Result<Result<FetchedMessage, Failure>, oneshot::error::RecvError>,
    ) {
        match self.consumer.inner.database.answered(answer) {
            Ok(FetchedMessage { messages, next_in_ms }) => {
                self.consumer.hold(messages.len());
                let next = next_in_ms.map_or(POLL_INTERVAL, Duration::from_millis);
                self.look_at = Instant::now() + next.clamp(Duration::from_millis(1), POLL_INTERVAL);
                self.ready.extend(messages);
            }
            Err(failure) => {
                let error = failure.in_queue("consume");
                tracing::debug!(%error, "a consumer ended");
                self.ended = true;
            }
        }
    }
}

#[async_trait]
impl DeliveryStream for SqliteIntake {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            if self.ended || self.consumer.is_lost() {
                self.ended = true;
                return None;
            }
            if let Some(message) = self.ready.pop_front() {
                self.ask_ahead();
                let consumer = Arc::clone(&self.consumer);
                return Some(Delivery {
                    body: message.body,
                    redelivered: message.redelivered,
                    acker: Box::new(SqliteAcker { consumer, message: message.id }),
                });
            }
            if let Some(asked) = &mut self.asked {
                let answer = asked.await;
                self.asked = None;
                self.take_in(answer);
                if self.ready.is_empty() && !self.ended {
                    self.wait().await;
                }
            } else if self.consumer.room() == 0 {
                self.wait().await;
            } else {
                self.asked = Some(self.ask());
            }
        }
    }

    async fn stop(&mut self) {
        self.ended = true;
        if let Some(asked) = self.asked.take() {
            let answer = asked.await;
            self.take_in(answer);
        }
        let messages: Vec<i64> = self.ready.drain(..).map(|message| message.id).collect();
        if messages.is_empty() {
            return;
        }
        let (inner, id) = (Arc::clone(&self.consumer.inner), self.consumer.id);
        let giving_back = self
            .consumer
            .inner
            .database
            .write(move |connection| table::give_back(connection, id, &messages));
        if let Err(failure) = giving_back.await {
            let error = failure.in_queue("stop");
            tracing::debug!(%error, "deliveries were not returned: they go back with their consumer");
        }
        inner.published.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faster_consumption_fetches_more_at_once() {
        let fast = |chunk, _| next_chunk(chunk, Duration::from_millis(5));
        let slow = |chunk, _| next_chunk(chunk, Duration::from_secs(1));
        assert_eq!((0..7).fold(FEWEST, fast), 256);
        assert_eq!((0..7).fold(256, slow), FEWEST);
        assert_eq!(next_chunk(FEWEST, Duration::from_secs(60)), FEWEST);
    }
}
