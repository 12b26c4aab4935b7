//! Which dead letters are about grants that live again.
//!
//! A queue cannot be searched, so a letter stays when its grant is taken up again: its death is taken
//! back, or its user has signed in. Whoever looks at letters compares them with the store, many at once.

use std::time::Duration;

use evergrant_domain::DeadLetter;
use evergrant_ports::{DeadLetters, GrantAdmin, QueueError, StoreError};

use super::LetterSelection;

/// Letters that are compared at once.
const CHUNK: usize = 500;
/// A store that takes longer is not asked again in the same look.
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

/// Compares letters with the store. Those that cannot be compared are open: none is hidden that matters.
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
                tracing::warn!(%error, "dead letters are not compared with the store: all are shown");
                unknown()
            }
            Err(_) => {
                self.away = true;
                tracing::warn!(
                    "dead letters are not compared with the store, which does not answer"
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
