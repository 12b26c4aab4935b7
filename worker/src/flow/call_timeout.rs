//! How long one call of the store may take.

use std::time::Duration;

use evergrant_ports::StoreError;

/// A limit that doubles each time that it was too short. A call that hangs must not use up what is left of
/// a document's lease, and a store that is slow for everybody is still given its time.
pub(crate) struct CallTimeout {
    now: Duration,
    longest: Duration,
}

impl CallTimeout {
    /// For answers that are to be written: from 3 s up to 12 s.
    pub(crate) const fn to_write() -> Self {
        Self { now: Duration::from_secs(3), longest: Duration::from_secs(12) }
    }

    /// For a document that is to be put out of reach: from 1 s up to 10 s.
    pub(crate) const fn to_withhold() -> Self {
        Self { now: Duration::from_secs(1), longest: Duration::from_secs(10) }
    }

    /// Waits for a call within the limit.
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
