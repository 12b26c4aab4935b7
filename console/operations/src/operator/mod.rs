//! Operators' actions, each recorded in the audit record, for the terminal and the web console.

mod grants;
mod providers;
mod revocation;
mod who;

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::audit::{
    ActionIntent, ActionOutcome, ActionProgress, AuditEntry, OperatorAction,
};
use evergrant_domain::{DocumentId, ProviderId};
use evergrant_ports::{QueueError, Store, StoreError};

pub use grants::RefreshResult;
pub use providers::ProviderChange;
pub use revocation::{RevocationEndpoint, RevocationResult};
pub use who::os_user;

/// An operator and the reason for an action.
#[derive(Clone)]
pub struct ActingOperator {
    /// The store with the audit record.
    pub store: Arc<dyn Store>,
    /// The user of the operating system, or a login.
    pub who: String,
    /// The operator's reason.
    pub why: String,
}

/// An action that failed.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// The subject of an action.
pub struct ActionSubject {
    /// The action.
    pub action: OperatorAction,
    /// The provider, if the action is about one.
    pub provider: Option<ProviderId>,
    /// The document, if the action is about one.
    pub document: Option<DocumentId>,
    /// The other arguments.
    pub request: serde_json::Value,
}

impl ActionSubject {
    /// A subject without a provider or a document.
    pub const fn all(action: OperatorAction, request: serde_json::Value) -> Self {
        Self { action, provider: None, document: None, request }
    }
}

/// What to do if an action cannot be recorded.
pub fn unaudited_hint(error: &StoreError) -> &'static str {
    let (StoreError::Unavailable { operation, .. } | StoreError::Refused { operation, .. }) = error;
    match *operation {
        "begin_audit" => {
            "; the audit record cannot be written: --unaudited continues without a record"
        }
        _ => "",
    }
}

/// How often a long action is reported as running.
const STILL_RUNNING_INTERVAL: Duration = Duration::from_secs(10);

impl ActingOperator {
    /// The user of the operating system, without a reason.
    pub fn of_this_terminal(store: Arc<dyn Store>) -> Self {
        Self { store, who: os_user(), why: String::new() }
    }

    /// Runs `work` between its two notes in the audit record. `told` gives the outcome, and a
    /// description if there is more to say.
    pub async fn audited<T, E: From<StoreError> + std::fmt::Display>(
        &self,
        about: ActionSubject,
        work: impl Future<Output = Result<T, E>>,
        told: impl FnOnce(&T) -> (ActionOutcome, String),
    ) -> Result<T, E> {
        let entry = self.begin(about).await?;
        let result = self.watched(&entry.id, work).await;
        let (outcome, detail) = match &result {
            Ok(done) => told(done),
            Err(error) => (ActionOutcome::Failed, error.to_string()),
        };
        let done = u64::from(outcome == ActionOutcome::Done);
        let progress = ActionProgress { outcome, matched: Some(1), done, left: 1 - done, detail };
        self.tell(&entry.id, &progress).await;
        result
    }

    /// Records an action that is already done, this many times.
    pub async fn note(
        &self,
        about: ActionSubject,
        times: u64,
        detail: String,
    ) -> Result<(), StoreError> {
        let entry = self.begin(about).await?;
        let (outcome, matched) = (ActionOutcome::Done, Some(times));
        let progress = ActionProgress { outcome, matched, done: times, left: 0, detail };
        self.store.tell_audit(&entry.id, &progress).await
    }

    async fn begin(&self, about: ActionSubject) -> Result<AuditEntry, StoreError> {
        let ActionSubject { action, provider, document, request } = about;
        let (who, why) = (self.who.clone(), self.why.clone());
        self.store.begin_audit(ActionIntent { who, action, provider, document, request, why }).await
    }

    /// Runs `work` and reports it as running meanwhile; otherwise it would count as dead.
    async fn watched<T>(&self, id: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return result,
                () = tokio::time::sleep(STILL_RUNNING_INTERVAL) => {
                    self.tell(id, &ActionProgress::default()).await;
                }
            }
        }
    }

    async fn tell(&self, id: &str, progress: &ActionProgress) {
        if let Err(error) = self.store.tell_audit(id, progress).await {
            tracing::warn!(%error, id, "cannot record the outcome of an action");
        }
    }
}
