//! What travels, and in which queue.

use std::fmt;

use evergrant_domain::ProviderId;

/// A queue that is consumed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum QueueName {
    /// A shard of a provider's work.
    Work(ProviderId, u16),
    /// What comes back to it: it must not wait behind everything that was never tried.
    Again(ProviderId, u16),
    /// Sealed answers that could not be committed yet.
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

/// A message in a queue, or with a consumer.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) body: Vec<u8>,
    /// How often it came back from a consumer that did not acknowledge it.
    pub(super) returns: u32,
}

impl Message {
    pub(super) const fn new(body: Vec<u8>) -> Self {
        Self { body, returns: 0 }
    }
}

/// Where a message stands: what came later has a greater place. It keeps it when it comes back.
pub(super) type MessagePosition = u64;
