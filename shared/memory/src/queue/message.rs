//! Messages and their queues.

use std::fmt;

use evergrant_domain::ProviderId;

/// A queue that can be consumed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum QueueName {
    /// A shard of a provider's work.
    Work(ProviderId, u16),
    /// Jobs that return to it, so that they do not wait behind new ones.
    Again(ProviderId, u16),
    /// Sealed answers that are not committed yet.
    Rescue,
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Work(provider, shard) => write!(f, "refresh.{provider}.{shard}"),
            Self::Again(provider, shard) => write!(f, "again.{provider}.{shard}"),
            Self::Rescue => f.write_str("rescue"),
        }
    }
}

/// A message in a queue or with a consumer.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) body: Vec<u8>,
    /// How often a consumer returned it without an acknowledgement.
    pub(super) returns: u32,
}

impl Message {
    pub(super) const fn new(body: Vec<u8>) -> Self {
        Self { body, returns: 0 }
    }
}

/// The position of a message: later ones are greater. A returned message keeps it.
pub(super) type MessagePosition = u64;
