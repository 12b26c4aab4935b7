//! The document of an answer that cannot be written yet is put out of reach: nobody sends the token that it
//! still holds.

use std::time::Duration;

use evergrant_shared::backoff::Backoff;
use evergrant_shared::domain::{Failure, FailureKind, LastError};
use evergrant_shared::ports::StoreError;

use crate::recovery::{Recovery, Rescue};

/// How long the first try may take: a call that hangs must not use up the time that is left until the
/// document's lease is over.
pub(crate) const FIRST_TRY: Duration = Duration::from_secs(1);
/// How long a try may take at most. Each that was too short doubles it.
const LONGEST_TRY: Duration = Duration::from_secs(10);

impl Recovery {
    /// Puts the document of an answer out of reach, however long the store takes. False if it does not wait
    /// for the answer any more.
    pub(crate) async fn withhold(&self, rescue: &mut Rescue, why: &str) -> bool {
        let (mut backoff, mut told) = (Backoff::for_a_server(), false);
        let mut limit = FIRST_TRY;
        loop {
            match self.try_to_withhold(rescue, why, &mut limit).await {
                Ok(waits) => return waits,
                Err(error) if std::mem::replace(&mut told, true) => {
                    tracing::debug!(%error, "still not out of reach");
                }
                Err(error) => tracing::error!(%error, "the document of an answer that cannot be \
                    written is not out of reach: trying again"),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Tries once, for no longer than `limit`, which doubles if that is too short.
    pub(crate) async fn try_to_withhold(
        &self,
        rescue: &mut Rescue,
        why: &str,
        limit: &mut Duration,
    ) -> Result<bool, StoreError> {
        let answer = rescue.answer.as_ref().ok();
        // One that has replaced no token does no harm if its document is refreshed once more.
        let spent = answer.and_then(|answer| Some((&answer.id, answer.spent.as_deref()?)));
        let Some((id, spent)) = spent else { return Ok(true) };
        let withholding = async {
            let (failure, kind) = (Failure::described(why), FailureKind::UncommittedAnswer);
            let last_error = LastError::of(&failure, kind, self.store.now().await?);
            self.store.withhold(id, spent, &last_error).await
        };
        let tried = tokio::time::timeout(*limit, withholding).await;
        let waits = tried.unwrap_or_else(|_| {
            let reason = format!("no answer within {limit:?}");
            *limit = (*limit * 2).min(LONGEST_TRY);
            Err(StoreError::Unavailable { operation: "withhold", reason })
        })?;
        if waits {
            self.nets.metrics.withheld.inc();
            rescue.held = None;
        }
        Ok(waits)
    }
}
