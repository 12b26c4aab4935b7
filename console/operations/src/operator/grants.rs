//! What is done to one grant.

use std::time::Duration;

use evergrant_domain::audit::{Action, Outcome};
use evergrant_domain::{DocumentId, ProviderId, Status};
use evergrant_ports::{Changed, GrantChange, JobQueue};

use super::{About, ActionError, Operator};
use crate::bulk::forced_job;

/// What became of a refresh that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// A job for it is in the queue.
    Queued(ProviderId),
    /// It is paused, or not adopted yet.
    NotActive(Option<Status>),
    /// Its new tokens wait in a dead letter or a journal: to send the old one would lose them.
    WaitsForAnswer,
    /// There is no such document.
    Absent,
}

impl Operator {
    /// Has a grant refreshed now, whether it is due or not; one that was given up is active again.
    pub async fn refresh_grant(
        &self,
        queue: &dyn JobQueue,
        id: &DocumentId,
        queued_for: Duration,
    ) -> Result<Refreshed, ActionError> {
        let work = async {
            let found = self.store.get(id).await?;
            if found.is_some_and(|grant| grant.waits_for_answer()) {
                return Ok(Refreshed::WaitsForAnswer);
            }
            // The document first, since it is the truth: should the job be lost, the producer makes
            // another.
            if let Some(grant) = self.store.reactivate(id, queued_for).await? {
                let provider = grant.provider.clone();
                queue.publish(&[forced_job(grant, 0)]).await?;
                return Ok(Refreshed::Queued(provider));
            }
            Ok(match self.store.get(id).await? {
                Some(grant) => Refreshed::NotActive(grant.status),
                None => Refreshed::Absent,
            })
        };
        self.audited(about(Action::TokenRefresh, id), work, |refreshed| match refreshed {
            Refreshed::Queued(_) => (Outcome::Done, String::new()),
            Refreshed::NotActive(status) => (Outcome::Nothing, in_status(*status)),
            Refreshed::WaitsForAnswer => (Outcome::Nothing, WAITS.to_owned()),
            Refreshed::Absent => (Outcome::Nothing, ABSENT.to_owned()),
        })
        .await
    }

    /// Pauses, resumes or forgets a grant.
    pub async fn change_grant(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<Changed, ActionError> {
        let action = match change {
            GrantChange::Pause => Action::TokenPause,
            GrantChange::Resume => Action::TokenResume,
            GrantChange::Forget => Action::TokenForget,
        };
        let work = async {
            if change == GrantChange::Forget
                && self.store.get(id).await?.is_some_and(|grant| grant.waits_for_answer())
            {
                return Ok(Changed::WaitsForAnswer);
            }
            Ok(self.store.change_grant(id, change).await?)
        };
        self.audited(about(action, id), work, |changed| match changed {
            Changed::Applied => (Outcome::Done, String::new()),
            Changed::NotIn(status) => (Outcome::Nothing, in_status(*status)),
            Changed::UnderWay => (Outcome::Nothing, "a refresh was under way".to_owned()),
            Changed::WaitsForAnswer => (Outcome::Nothing, WAITS.to_owned()),
            Changed::Absent => (Outcome::Nothing, ABSENT.to_owned()),
        })
        .await
    }
}

const WAITS: &str = "its new tokens wait";
const ABSENT: &str = "there is no such document";

fn in_status(status: Option<Status>) -> String {
    match status {
        Some(status) => format!("it is {status}"),
        None => "it is not adopted yet".to_owned(),
    }
}

fn about(action: Action, id: &DocumentId) -> About {
    About { action, provider: None, document: Some(id.clone()), request: serde_json::Value::Null }
}
