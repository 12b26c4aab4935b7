//! Withholds the document of an answer that cannot be written yet, so that nobody sends the token
//! that it still holds.

use evergrant_domain::{ExchangeFailure, FailureKind, LastError};
use evergrant_ports::Backoff;
use evergrant_ports::StoreError;

use crate::flow::call_timeout::CallTimeout;
use crate::recovery::orphaned_answer::{AnswerCommits, RescuedAnswer};

impl AnswerCommits {
    /// Withholds the document of an answer, however long the store takes. False if the document
    /// does not need the answer any more.
    pub(crate) async fn withhold(&self, rescue: &mut RescuedAnswer, why: &str) -> bool {
        let (mut backoff, mut told) = (Backoff::for_a_server(), false);
        let mut limit = CallTimeout::to_withhold();
        loop {
            match self.try_to_withhold(rescue, why, &mut limit).await {
                Ok(waits) => return waits,
                Err(error) if std::mem::replace(&mut told, true) => {
                    tracing::debug!(%error, "the document is not withheld yet: trying again");
                }
                Err(error) => {
                    tracing::error!(%error, "cannot withhold the document of a rescued answer \
                    that cannot be written: trying again")
                }
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Tries once, within `limit`. Errors are the store's.
    pub(crate) async fn try_to_withhold(
        &self,
        rescue: &mut RescuedAnswer,
        why: &str,
        limit: &mut CallTimeout,
    ) -> Result<bool, StoreError> {
        let answer = rescue.answer.as_ref().ok();
        // If no token was replaced, another refresh of the document does no harm.
        let spent = answer.and_then(|answer| Some((&answer.id, answer.spent.as_deref()?)));
        let Some((id, spent)) = spent else { return Ok(true) };
        let withholding = async {
            let (failure, kind) = (ExchangeFailure::described(why), FailureKind::UncommittedAnswer);
            let last_error = LastError::from_failure(&failure, kind, self.store.now().await?);
            self.store.withhold(id, spent, &last_error).await
        };
        let waits = limit.hold("withhold", withholding).await?;
        if waits {
            self.answer_log.metrics.withheld.inc();
            rescue.held = None;
        }
        Ok(waits)
    }
}
