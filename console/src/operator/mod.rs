//! What an operator does, each with its trace in the audit record, for the terminal and for pages
//! alike.

mod grants;
mod providers;
mod who;

use std::sync::Arc;

use evergrant_shared::domain::audit::{Action, Intent, Outcome, Progress};
use evergrant_shared::domain::{DocumentId, ProviderId};
use evergrant_shared::operators::OperatorStore;
use evergrant_shared::ports::{QueueError, StoreError};

pub(crate) use grants::Refreshed;
pub(crate) use providers::ProviderChange;
pub(crate) use who::os_user;

/// Somebody who does something, and why.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) store: Arc<dyn OperatorStore>,
    /// The user of the operating system, or a login.
    pub(crate) who: String,
    /// In the operator's words.
    pub(crate) why: String,
}

/// An action that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// What an action is about.
struct About {
    action: Action,
    provider: Option<ProviderId>,
    document: Option<DocumentId>,
    request: serde_json::Value,
}

impl Operator {
    /// Does `work` between its two notes in the audit record. What came of it is told by `told`: an
    /// outcome, and words where there is more to say.
    async fn audited<T>(
        &self,
        about: About,
        work: impl Future<Output = Result<T, ActionError>>,
        told: impl FnOnce(&T) -> (Outcome, String),
    ) -> Result<T, ActionError> {
        let About { action, provider, document, request } = about;
        let (who, why) = (self.who.clone(), self.why.clone());
        let intent = Intent { who, action, provider, document, request, why };
        let entry = self.store.begin_audit(intent).await?;
        let result = work.await;
        let (outcome, detail) = match &result {
            Ok(done) => told(done),
            Err(error) => (Outcome::Failed, error.to_string()),
        };
        let done = u64::from(outcome == Outcome::Done);
        let progress = Progress { outcome, matched: Some(1), done, left: 1 - done, detail };
        if let Err(error) = self.store.tell_audit(&entry.id, &progress).await {
            tracing::warn!(%error, id = entry.id, "the audit record does not know how it ended");
        }
        result
    }
}
