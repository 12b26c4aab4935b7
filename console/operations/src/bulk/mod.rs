//! Bulk actions: redriving or discarding many dead letters, at a rate, up to a cut-off, recorded in
//! the audit record. An action can be cancelled at any letter and resumed wherever it ended.

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

/// Runs bulk actions.
#[derive(Clone)]
pub struct BulkActions {
    /// The letters to act on.
    pub letters: LetterQueues,
    /// How long a redriven job counts as under way.
    pub queued_for: Duration,
}

/// The end of a bulk action.
#[derive(Debug)]
pub struct BulkEnd {
    /// What was done.
    pub tally: BulkTally,
    /// The outcome, as in the audit record.
    pub outcome: ActionOutcome,
    /// The failure, if there was one. What was done before stays done.
    pub error: Option<LettersError>,
}

/// Why an audit entry cannot be resumed.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No entry has this id.
    #[error("there is no audit entry {0}: `evergrant audit` lists them")]
    Unknown(String),
    /// The entry is not a bulk action.
    #[error("the audit entry {0} is not a redrive or discard")]
    NotBulk(String),
    /// Its process is still running.
    #[error("it is running: cancel it where it runs, or wait for its end")]
    UnderWay,
    /// It has this final outcome.
    #[error("it ended as {0}: nothing is left to resume")]
    Over(&'static str),
}

impl BulkActions {
    /// The cut-off for letters, taken before they are counted: letters that die again or later are
    /// not included.
    pub async fn cutoff(&self) -> Result<Timestamp, StoreError> {
        self.letters.store.now().await
    }

    /// Counts the letters that match, without any action.
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

    /// Records in the audit record that an action begins, for [`Self::run`].
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

    /// Runs the action of `entry`. `watch` gets the progress after each letter. Cancelled by
    /// `stop`, the action ends after the current letter.
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
            tracing::warn!(%error, id = entry.id, "cannot record how a bulk action ended");
        }
        BulkEnd { tally, outcome, error }
    }

    /// The rest of an action that was cancelled, has failed, or whose process died.
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

    /// Records that another action continues this one.
    pub async fn hand_over(&self, entry: &AuditEntry, next: &AuditEntry) -> Result<(), StoreError> {
        let detail = format!("gone on with as {}", next.id);
        let progress =
            ActionProgress { outcome: ActionOutcome::Cancelled, detail, ..entry.progress.clone() };
        self.letters.store.tell_audit(&entry.id, &progress).await
    }
}
