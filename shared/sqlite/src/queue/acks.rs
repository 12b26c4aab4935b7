//! Acknowledgements that wait for the writer.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::super::failure::Failure;

/// Whether the consumer still held the message.
pub(super) type AckReply = Result<bool, Failure>;

/// Acknowledgements of a consumer that are not being written yet.
#[derive(Default)]
pub(super) struct Acks(Mutex<Vec<Ack>>);

/// One acknowledgement.
pub(super) struct Ack {
    pub(super) message: i64,
    pub(super) sender: oneshot::Sender<AckReply>,
}

impl Ack {
    pub(super) fn answer(self, held: AckReply) {
        // The caller may be gone.
        let _ = self.sender.send(held);
    }
}

impl Acks {
    /// Adds one. True if it is the first.
    pub(super) fn add(&self, ack: Ack) -> bool {
        let mut acks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        acks.push(ack);
        acks.len() == 1
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> Vec<Ack> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
