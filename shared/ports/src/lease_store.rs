//! Leases and conditional commits: the worker's view of token documents.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use crate::{StoreClock, StoreError};
use evergrant_domain::{
    ClaimNote, ClaimedDocument, DocumentId, DocumentWrite, Grant, LastError, ProviderId, Timestamp,
};

/// Token documents as workers refresh them: claimed under a lease, and written conditionally
/// (optimistic concurrency). The document is the truth.
#[async_trait]
pub trait LeaseStore: StoreClock {
    /// Takes the lease of each document of `ids` that is active and whose lease is free or over,
    /// for `owner` (unique to this claim), and reads all of `ids`.
    ///
    /// A retry with the same owner is the same claim: leases that an earlier try took are held, for
    /// `lease` from now. A late try takes no document that the claim has settled meanwhile.
    ///
    /// A lease that was over but not released means that its holder died. The new lease then
    /// records the takeover ([`evergrant_domain::Lease::taken_over`]).
    async fn claim(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<ClaimResult, StoreError>;

    /// Writes the outcomes of exchanges, durably (acknowledged by a majority, journalled), each on
    /// its condition (see [`Commit`]). One result for each commit, in order.
    ///
    /// # Errors
    /// If it is not known whether all took effect. A retry is safe: a commit that took effect is
    /// reported as [`CommitResult::Applied`] again.
    async fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitResult>, StoreError>;

    /// Withholds a document whose new tokens exist, or may exist, but cannot be written now. It
    /// ends as [`evergrant_domain::GrantStatus::Failed`] with `last_error`, in whatever status it
    /// was, and its lease is over, whoever held it. The new tokens make it active when they are
    /// written.
    ///
    /// Only if it still holds the token with the fingerprint `spent`. False if not, or if it does
    /// not exist: then the new tokens are not needed.
    async fn withhold(
        &self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> Result<bool, StoreError>;

    /// Releases the leases of `ids` that `owner` still holds, and changes nothing else.
    async fn release(&self, ids: &[DocumentId], owner: &str) -> Result<(), StoreError>;

    /// Renews the leases of `ids` that `owner` still holds: they end after `lease`, counted from
    /// now. For a request or a commit that takes unusually long.
    async fn renew(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError>;

    /// Makes active and due every grant of `provider` that ended as dead at `since` or later and
    /// still holds the token that died, because those deaths are no longer believed. Returns how
    /// many.
    async fn revive_dead(&self, provider: &ProviderId, since: Timestamp)
    -> Result<u64, StoreError>;
}

/// The result of a claim.
#[derive(Debug, Clone)]
pub struct ClaimResult {
    /// The store's time at the claim.
    pub now: Timestamp,
    /// The state of each document, in the order of the request.
    pub rows: Vec<ClaimedDocument>,
}

/// The outcome of an exchange, to be written if its condition holds.
///
/// [`DocumentWrite::Refresh`] is conditional on the refresh token that was sent, but not on the
/// lease: the new token is the only valid one, so it is written even if the lease ran out
/// meanwhile. If the token stays the same, it is also conditional on the generation. Every other
/// write is conditional on token, generation and lease. So none can overwrite another worker's
/// rotation or a new sign-in.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The document.
    pub id: DocumentId,
    /// The claim's owner.
    pub owner: String,
    /// The generation that was claimed. None for a document that could not be read.
    pub generation: Option<u64>,
    /// The refresh token that was sent, or would have been. None if there was none.
    pub sent: Option<SecretString>,
    /// What the store noted at the claim.
    pub note: ClaimNote,
    /// What to write.
    pub write: DocumentWrite,
}

impl Commit {
    /// The commit of a claimed grant.
    pub fn of_grant(grant: &Grant, owner: &str, write: DocumentWrite) -> Self {
        Self {
            id: grant.id.clone(),
            owner: owner.to_owned(),
            generation: Some(grant.generation),
            sent: Some(grant.refresh_token.clone()),
            note: grant.note.clone(),
            write,
        }
    }

    /// Whether the answer has replaced the token that was sent, which is then spent.
    pub fn rotates(&self) -> bool {
        match (&self.write, &self.sent) {
            (DocumentWrite::Refresh { refresh_token: Some(new), .. }, Some(sent)) => {
                new.expose_secret() != sent.expose_secret()
            }
            _ => false,
        }
    }

    /// The generation that the document must still have. None if the answer has rotated the token
    /// that was sent: it is newer than anything else that was made of that token.
    pub fn expected_generation(&self) -> Option<u64> {
        self.generation.filter(|_| !self.rotates())
    }
}

/// The result of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitResult {
    /// The write took effect.
    Applied,
    /// The document has changed: another worker's rotation, or a new sign-in. If the claim still
    /// held it, its lease is released and no job is under way any more.
    Superseded,
}
