//! Errors of stores and queues.

/// A store operation that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store is unreachable or cannot write now; a retry may succeed.
    #[error("{operation}: the token store is not available: {reason}")]
    Unavailable {
        /// The operation.
        operation: &'static str,
        /// The driver's message, without credentials.
        reason: String,
    },
    /// The store refuses, and will refuse again.
    #[error("{operation}: the token store refuses: {reason}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// The reason, and what to do.
        reason: String,
    },
}

/// A queue operation that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The broker is unreachable, or the connection was lost; a retry may succeed.
    #[error("{operation}: the job queue is not available: {reason}")]
    Unavailable {
        /// The operation.
        operation: &'static str,
        /// The client's message, without credentials.
        reason: String,
    },
    /// A queue or exchange exists with other arguments than this release needs.
    #[error(
        "the queue or exchange {name} exists with other arguments: {reason}. Delete it when it is \
         empty, or choose another queue.prefix"
    )]
    Mismatch {
        /// Its name.
        name: String,
        /// The broker's message.
        reason: String,
    },
    /// A message was not accepted by its queue.
    #[error("{operation}: not confirmed: {reason}")]
    Unconfirmed {
        /// The operation.
        operation: &'static str,
        /// The broker's message.
        reason: String,
    },
    /// The broker refuses, and will refuse again.
    #[error("{operation}: the job queue refuses: {reason}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// The reason, and what to do.
        reason: String,
    },
}
