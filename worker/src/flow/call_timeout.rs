//! An adaptive timeout for store calls.

use std::time::Duration;

use evergrant_ports::StoreError;

/// A timeout that doubles each time a call exceeds it. A call that hangs must not use up the rest
/// of a document's lease, and a store that is slow for all callers still gets enough time.
pub(crate) struct CallTimeout {
    now: Duration,
    longest: Duration,
}

impl CallTimeout {
    /// For writing answers: 3 s to 12 s.
    pub(crate) const fn to_write() -> Self {
        Self { now: Duration::from_secs(3), longest: Duration::from_secs(12) }
    }

    /// For withholding a document: 1 s to 10 s.
    pub(crate) const fn to_withhold() -> Self {
        Self { now: Duration::from_secs(1), longest: Duration::from_secs(10) }
    }

    /// Waits for a call, at most for the timeout.
    pub(crate) async fn hold<T>(
        &mut self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.now;
        tokio::time::timeout(limit, call).await.unwrap_or_else(|_elapsed| {
            self.now = (limit * 2).min(self.longest);
            let reason = format!("no answer within {limit:?}");
            Err(StoreError::Unavailable { operation, reason })
        })
    }
}
