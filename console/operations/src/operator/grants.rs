//! Actions on one grant.

use std::time::Duration;

use evergrant_domain::audit::{ActionOutcome, OperatorAction};
use evergrant_domain::{DocumentId, GrantStatus, ProviderId};
use evergrant_ports::{ChangeResult, GrantChange, JobQueue};

use super::{ActingOperator, ActionError, ActionSubject};
use crate::bulk::forced_job;

/// The result of a requested refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshResult {
    /// A job for it is in the queue.
    Queued(ProviderId),
    /// It is paused, or not adopted yet.
    NotActive(Option<GrantStatus>),
    /// Its new tokens are in a dead letter or a journal: sending the old one would lose them.
    WaitsForAnswer,
    /// There is no such document.
    Absent,
}

impl ActingOperator {
    /// Refreshes a grant now, due or not; a grant that has ended becomes active again.
    pub async fn refresh_grant(
        &self,
        queue: &dyn JobQueue,
        id: &DocumentId,
        queued_for: Duration,
    ) -> Result<RefreshResult, ActionError> {
        let work = async {
            let found = self.store.get(id).await?;
            if found.is_some_and(|grant| grant.waits_for_answer()) {
                return Ok(RefreshResult::WaitsForAnswer);
            }
            // The document first, because it is the truth: if the job is lost, the producer
            // publishes another.
            if let Some(grant) = self.store.reactivate(id, queued_for).await? {
                let provider = grant.provider.clone();
                queue.publish(&[forced_job(grant, 0)]).await?;
                return Ok(RefreshResult::Queued(provider));
            }
            Ok(match self.store.get(id).await? {
                Some(grant) => RefreshResult::NotActive(grant.status),
                None => RefreshResult::Absent,
            })
        };
        self.audited(about(OperatorAction::TokenRefresh, id), work, |refreshed| match refreshed {
            RefreshResult::Queued(_) => (ActionOutcome::Done, String::new()),
            RefreshResult::NotActive(status) => (ActionOutcome::Nothing, in_status(*status)),
            RefreshResult::WaitsForAnswer => (ActionOutcome::Nothing, WAITS.to_owned()),
            RefreshResult::Absent => (ActionOutcome::Nothing, ABSENT.to_owned()),
        })
        .await
    }

    /// Pauses, resumes or forgets a grant.
    pub async fn change_grant(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<ChangeResult, ActionError> {
        let action = match change {
            GrantChange::Pause => OperatorAction::TokenPause,
            GrantChange::Resume => OperatorAction::TokenResume,
            GrantChange::Forget => OperatorAction::TokenForget,
        };
        let work = async {
            if change == GrantChange::Forget
                && self.store.get(id).await?.is_some_and(|grant| grant.waits_for_answer())
            {
                return Ok(ChangeResult::WaitsForAnswer);
            }
            Ok(self.store.change_grant(id, change).await?)
        };
        self.audited(about(action, id), work, |changed| match changed {
            ChangeResult::Applied => (ActionOutcome::Done, String::new()),
            ChangeResult::NotIn(status) => (ActionOutcome::Nothing, in_status(*status)),
            ChangeResult::UnderWay => {
                (ActionOutcome::Nothing, "a refresh was under way".to_owned())
            }
            ChangeResult::WaitsForAnswer => (ActionOutcome::Nothing, WAITS.to_owned()),
            ChangeResult::Absent => (ActionOutcome::Nothing, ABSENT.to_owned()),
        })
        .await
    }
}

pub(super) const WAITS: &str = "its new tokens wait";
pub(super) const ABSENT: &str = "there is no such document";

fn in_status(status: Option<GrantStatus>) -> String {
    match status {
        Some(status) => format!("it is {status}"),
        None => "it is not adopted yet".to_owned(),
    }
}

pub(super) fn about(action: OperatorAction, id: &DocumentId) -> ActionSubject {
    ActionSubject {
        action,
        provider: None,
        document: Some(id.clone()),
        request: serde_json::Value::Null,
    }
}
