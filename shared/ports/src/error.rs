//! What a server did not do.

/// A store that did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or is not ready to write; the same may work later.
    #[error("{operation}: the token store is not available: {reason}")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// What the driver says, without credentials.
        reason: String,
    },
    /// It refuses, and will again.
    #[error("{operation}: the token store refuses: {reason}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Why, and what to do.
        reason: String,
    },
}

/// A queue that did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// It cannot be reached, or the connection was lost; the same may work later.
    #[error("{operation}: the job queue is not available: {reason}")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// What the client says, without credentials.
        reason: String,
    },
    /// A queue or exchange exists with other arguments than this release wants.
    #[error(
        "the queue or exchange {name} exists with other arguments: {reason}. Delete it when it is \
         empty, or choose another queue.prefix"
    )]
    Mismatch {
        /// Its name.
        name: String,
        /// What the broker says.
        reason: String,
    },
    /// A message did not get into its queue.
    #[error("{operation}: not confirmed: {reason}")]
    Unconfirmed {
        /// What was asked.
        operation: &'static str,
        /// What the broker says.
        reason: String,
    },
    /// It refuses, and will again.
    #[error("{operation}: the job queue refuses: {reason}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Why, and what to do.
        reason: String,
    },
}
