//! A browse through dead letters (without consuming them).

use async_trait::async_trait;

use super::MemoryBroker;
use super::message::MessagePosition;
use evergrant_domain::{DeadLetter, ProviderId};
use evergrant_ports::{DeadLetters, QueueError};

/// A browse through a provider's dead letters.
pub(super) struct MemoryDeadLetters {
    broker: MemoryBroker,
    provider: ProviderId,
    /// The position of each letter up to the cut-off, the next one last.
    left: Vec<MessagePosition>,
    cutoff: u64,
    /// The letter that [`DeadLetters::next`] returned last.
    current: Option<MessagePosition>,
}

impl MemoryDeadLetters {
    pub(super) fn open(broker: MemoryBroker, provider: &ProviderId) -> Result<Self, QueueError> {
        let left: Option<Vec<MessagePosition>> =
            broker.lock().letters(provider).map(|letters| letters.keys().rev().copied().collect());
        let left = left.ok_or_else(|| QueueError::Unavailable {
            operation: "read dead letters",
            reason: format!("there is no queue dead.{provider}; not prepared yet?"),
        })?;
        let cutoff = left.len() as u64;
        Ok(Self { broker, provider: provider.clone(), left, cutoff, current: None })
    }
}

#[async_trait]
impl DeadLetters for MemoryDeadLetters {
    fn cutoff(&self) -> u64 {
        self.cutoff
    }

    async fn next(&mut self) -> Result<Option<DeadLetter>, QueueError> {
        self.current = None;
        while let Some(place) = self.left.pop() {
            let mut broker = self.broker.lock();
            let letter = broker.letters(&self.provider).and_then(|letters| letters.get(&place));
            // A letter that was removed meanwhile is skipped.
            if let Some(letter) = letter {
                self.current = Some(place);
                return Ok(Some(letter.clone()));
            }
        }
        Ok(None)
    }

    async fn remove(&mut self) -> Result<(), QueueError> {
        let Some(place) = self.current.take() else {
            return Err(QueueError::Refused {
                operation: "remove a dead letter",
                reason: "there is no current letter: it was removed before, or none was read"
                    .to_owned(),
            });
        };
        if let Some(letters) = self.broker.lock().letters(&self.provider) {
            letters.remove(&place);
        }
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), QueueError> {
        Ok(())
    }
}
