//! Sending many dead letters back, or removing them: at a rate, up to a cut-off, with a trace in the
//! audit record. It can be cancelled at any letter, and gone on with wherever it ended.

mod request;
mod run;
mod send_back;
mod tally;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::Timestamp;
use evergrant_domain::audit::{ActionIntent, ActionOutcome, ActionProgress, AuditEntry};
use evergrant_ports::StoreError;
use tokio_util::sync::CancellationToken;

use crate::letters::{LetterQueues, LettersError};

pub use request::{BulkKind, BulkRequest, LetterMatch};
pub use send_back::forced_job;
pub use tally::BulkTally;

/// Does bulk actions.
#[derive(Clone)]
pub struct BulkActions {
    /// The letters that it is about.
    pub letters: LetterQueues,
    /// How long a job that is sent back is taken to be under way.
    pub queued_for: Duration,
}

/// How a bulk action ended.
#[derive(Debug)]
pub struct BulkEnd {
    /// What was done.
    pub tally: BulkTally,
    /// What came of it, as the audit record has it.
    pub outcome: ActionOutcome,
    /// What failed, if something did. What was done before stays done.
    pub error: Option<LettersError>,
}

/// An entry that cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No entry has this id.
    #[error("there is no audit entry {0}: `evergrant audit` lists them")]
    Unknown(String),
    /// The entry is about something else.
    #[error("the audit entry {0} is no redrive or discard")]
    NotBulk(String),
    /// Its process still lives.
    #[error("it is under way: cancel it where it runs, or wait for its end")]
    UnderWay,
    /// It ended, as this says.
    #[error("it ended as {0}: nothing is left to go on with")]
    Over(&'static str),
}

impl BulkActions {
    /// The time up to which letters are meant, which is taken before they are counted: what dies
    /// again or dies meanwhile is not met.
    pub async fn cutoff(&self) -> Result<Timestamp, StoreError> {
        self.letters.store.now().await
    }

    /// How many letters match; nothing is done.
    pub async fn count(&self, request: &BulkRequest) -> Result<BulkTally, LettersError> {
        let mut tally = BulkTally::default();
        let most = request.limit.unwrap_or(u64::MAX);
        self.letters
            .each(&request.filter, |letter| {
                if !tally.is_meant(request, &letter) {
                    return ControlFlow::Continue(());
                }
                if tally.matched == most {
                    return ControlFlow::Break(());
                }
                tally.meet(&letter.provider);
                ControlFlow::Continue(())
            })
            .await?;
        Ok(tally)
    }

    /// Notes in the audit record that an action begins. [`Self::run`] does it.
    pub async fn begin(
        &self,
        who: String,
        why: String,
        request: &BulkRequest,
        matched: Option<u64>,
    ) -> Result<AuditEntry, StoreError> {
        let intent = ActionIntent {
            who,
            action: request.kind.into(),
            provider: request.filter.provider.clone(),
            document: request.filter.id.clone(),
            request: serde_json::to_value(request).unwrap_or_default(),
            why,
        };
        let entry = self.letters.store.begin_audit(intent).await?;
        let progress = ActionProgress { matched, ..ActionProgress::default() };
        self.letters.store.tell_audit(&entry.id, &progress).await?;
        Ok(AuditEntry { progress, ..entry })
    }

    /// Does what `entry` says that it begins. `watch` is told after each letter how far it is.
    /// Cancelled by `stop`, it ends after the letter in hand.
    pub async fn run(
        &self,
        entry: &AuditEntry,
        request: &BulkRequest,
        watch: impl Fn(&BulkTally) + Send + Sync,
        stop: &CancellationToken,
    ) -> BulkEnd {
        let store = Arc::clone(&self.letters.store);
        let mut running = run::BulkRun::new(self, request, stop);
        let result = {
            let matched = entry.progress.matched;
            let telling = run::keep_telling(&*store, &entry.id, matched, running.told());
            tokio::select! {
                result = running.run(&watch) => result,
                () = telling => Ok(()),
            }
        };
        let tally = running.into_tally();
        let error = result.err();
        let outcome = match &error {
            Some(_) => ActionOutcome::Failed,
            None if stop.is_cancelled() => ActionOutcome::Cancelled,
            None if tally.matched == 0 && tally.left() == 0 => ActionOutcome::Nothing,
            None if tally.left() > 0 => ActionOutcome::Partial,
            None => ActionOutcome::Done,
        };
        let detail = error.as_ref().map_or_else(|| tally.detail(), ToString::to_string);
        let progress = ActionProgress { outcome, detail, ..tally.progress(entry.progress.matched) };
        if let Err(error) = store.tell_audit(&entry.id, &progress).await {
            tracing::warn!(%error, id = entry.id, "the audit record does not know how it ended");
        }
        BulkEnd { tally, outcome, error }
    }

    /// What is left of an action that was cancelled, failed, or whose process died.
    pub async fn rest_of(&self, id: &str) -> Result<(AuditEntry, BulkRequest), ResumeError> {
        let store = &self.letters.store;
        let entry = store.audit_entry(id).await?;
        let entry = entry.ok_or_else(|| ResumeError::Unknown(id.to_owned()))?;
        let request =
            BulkRequest::from_entry(&entry).ok_or_else(|| ResumeError::NotBulk(id.to_owned()))?;
        match entry.outcome(store.now().await?) {
            ActionOutcome::Died | ActionOutcome::Cancelled | ActionOutcome::Failed => {}
            ActionOutcome::Running => return Err(ResumeError::UnderWay),
            over => return Err(ResumeError::Over(over.as_str())),
        }
        let rest = BulkRequest {
            limit: request.limit.map(|limit| limit.saturating_sub(entry.progress.done)),
            resumes: Some(entry.id.clone()),
            ..request
        };
        Ok((entry, rest))
    }

    /// Notes of an action that another one goes on with it.
    pub async fn hand_over(&self, entry: &AuditEntry, next: &AuditEntry) -> Result<(), StoreError> {
        let detail = format!("gone on with as {}", next.id);
        let progress =
            ActionProgress { outcome: ActionOutcome::Cancelled, detail, ..entry.progress.clone() };
        self.letters.store.tell_audit(&entry.id, &progress).await
    }
}
