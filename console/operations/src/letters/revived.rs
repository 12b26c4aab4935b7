//! Detects dead letters of grants that live again.
//!
//! A queue cannot be searched, so a letter stays when its grant is revived: its death was revoked,
//! or its user has signed in. So letters are compared with the store when they are read, many at
//! once.

use std::time::Duration;

use evergrant_domain::DeadLetter;
use evergrant_ports::{DeadLetters, GrantAdmin, QueueError, StoreError};

use super::LetterSelection;

/// Letters in one comparison.
const CHUNK: usize = 500;
/// A store that takes longer is not asked again during the same browse.
const BROWSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The next letters that match, at most [`CHUNK`]; none at the end.
pub(super) async fn next_chunk(
    letters: &mut dyn DeadLetters,
    wanted: &LetterSelection,
) -> Result<Vec<DeadLetter>, QueueError> {
    let mut chunk = Vec::new();
    while chunk.len() < CHUNK
        && let Some(letter) = letters.next().await?
    {
        if wanted.matches(&letter) {
            chunk.push(letter);
        }
    }
    Ok(chunk)
}

/// Compares letters with the store. Letters that cannot be compared count as open, so that none is
/// hidden.
pub(super) struct Marks<'a> {
    pub(super) store: &'a dyn GrantAdmin,
    pub(super) away: bool,
}

impl Marks<'_> {
    /// Whether the grant of each letter lives again.
    pub(super) async fn of(&mut self, letters: &[DeadLetter]) -> Vec<bool> {
        let unknown = || vec![false; letters.len()];
        if self.away {
            return unknown();
        }
        match tokio::time::timeout(BROWSE_TIMEOUT, are_revived(self.store, letters)).await {
            Ok(Ok(revived)) => revived,
            Ok(Err(error)) => {
                self.away = true;
                tracing::warn!(%error, "cannot compare dead letters with the store: showing all of them");
                unknown()
            }
            Err(_) => {
                self.away = true;
                tracing::warn!(
                    "the store does not answer: showing dead letters without comparing them"
                );
                unknown()
            }
        }
    }
}

/// Whether the grant of each letter lives again.
pub(super) async fn are_revived(
    store: &dyn GrantAdmin,
    letters: &[DeadLetter],
) -> Result<Vec<bool>, StoreError> {
    let asked = |letter: &&DeadLetter| letter.reason.ends_grant() && letter.id.is_some();
    let ids: Vec<_> = letters.iter().filter(asked).filter_map(|letter| letter.id.clone()).collect();
    let statuses = if ids.is_empty() { Vec::new() } else { store.statuses(&ids).await? };
    let mut statuses = statuses.into_iter();
    let status = |letter| asked(&letter).then(|| statuses.next().flatten()).flatten();
    let statuses: Vec<_> = letters.iter().map(status).collect();
    Ok(letters.iter().zip(statuses).map(|(letter, status)| letter.is_answered(status)).collect())
}
