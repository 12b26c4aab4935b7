//! Redrives one dead letter.

use std::time::Duration;

use evergrant_domain::{DeadLetter, DeadReason, DocumentId, Job, SealedAnswer};
use evergrant_ports::{DueGrant, wall_clock};

use crate::letters::{LetterQueues, LettersError};

/// The result of redriving a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendResult {
    /// It may be removed.
    Back,
    /// It stays: its document does not exist, or must not be refreshed because it is paused or its
    /// new tokens are in another letter.
    NoDocument,
    /// It stays: it holds no job.
    NoJob,
}

/// The document first, because it is the truth: if the job is lost, the producer publishes another.
pub(super) async fn send_back(
    letters: &LetterQueues,
    letter: &DeadLetter,
    queued_for: Duration,
) -> Result<SendResult, LettersError> {
    if letter.reason == DeadReason::UncommittedAnswer
        && let Ok(answer) = SealedAnswer::decode(&letter.body)
    {
        // The count starts again, so that workers that have the key by now are asked.
        letters.queue.rescue(&SealedAnswer { passes: 0, ..answer }).await?;
        return Ok(SendResult::Back);
    }
    let id = letter.id.as_ref().filter(|_| letter.reason != DeadReason::MalformedJob);
    let Some(id) = id else { return Ok(SendResult::NoJob) };
    if letter.reason != DeadReason::UncommittedAnswer && waits_for_answer(letters, id).await? {
        return Ok(SendResult::NoDocument);
    }
    let Some(grant) = letters.store.reactivate(id, queued_for).await? else {
        return Ok(SendResult::NoDocument);
    };
    letters.queue.publish(&[forced_job(grant, letter.redrive_count.saturating_add(1))]).await?;
    Ok(SendResult::Back)
}

/// Whether new tokens of a document are in another letter: this one's job would send the old token.
async fn waits_for_answer(letters: &LetterQueues, id: &DocumentId) -> Result<bool, LettersError> {
    let grant = letters.store.get(id).await?;
    Ok(grant.is_some_and(|grant| grant.waits_for_answer()))
}

/// A job that is carried out whether the grant is due or not.
pub fn forced_job(grant: DueGrant, redrive_count: u32) -> Job {
    Job {
        force: true,
        redrive_count,
        ..Job::new(grant.provider, grant.id, grant.generation, wall_clock())
    }
}
