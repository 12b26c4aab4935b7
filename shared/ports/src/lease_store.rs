//! Leases and conditional commits: what a worker does to token documents.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use crate::{StoreClock, StoreError};
use evergrant_domain::{
    ClaimNote, ClaimedDocument, DocumentId, DocumentWrite, Grant, LastError, ProviderId, Timestamp,
};

/// Token documents as workers refresh them: claimed under a lease, and written on a condition. The
/// document is the truth.
#[async_trait]
pub trait LeaseStore: StoreClock {
    /// Takes the lease of each document of `ids` that is active and whose lease is free or over,
    /// for `owner` (unique to this claim), and reads all of `ids`.
    ///
    /// Trying again with the same owner is the same claim: what a try took whose answer was lost is
    /// held, for `lease` from now. A try that comes late takes no document that the claim has settled
    /// meanwhile.
    ///
    /// A lease that was over but not given back means that its holder died: then the new one says
    /// that it was taken over ([`evergrant_domain::Lease::taken_over`]).
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
    /// If it is not known whether all took effect. Trying again is safe: a commit that took effect
    /// is reported as [`CommitResult::Applied`] again.
    async fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitResult>, StoreError>;

    /// Puts a document out of reach whose new tokens exist, or may, but cannot be written for now: it ends
    /// as [`evergrant_domain::GrantStatus::Failed`] with `last_error`, whatever it was and whoever holds its
    /// lease, which is over. The new tokens make it active when they come.
    ///
    /// Only where it still holds the token of which `spent` is the fingerprint. False if it does not, or is
    /// gone: then nobody waits for these tokens.
    async fn withhold(
        &self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> Result<bool, StoreError>;

    /// Gives back those leases of `ids` that `owner` still holds, and changes nothing else.
    async fn release(&self, ids: &[DocumentId], owner: &str) -> Result<(), StoreError>;

    /// Prolongs those leases of `ids` that `owner` still holds: they end after `lease`, counted from
    /// now. For a request or a commit that takes unusually long.
    async fn renew(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError>;

    /// Makes active and due every grant of `provider` that was given up as dead at `since` or later
    /// and still holds the token that died: those deaths are no longer believed. Returns how many.
    async fn revive_dead(&self, provider: &ProviderId, since: Timestamp)
    -> Result<u64, StoreError>;
}

/// The answer to a claim.
#[derive(Debug, Clone)]
pub struct ClaimResult {
    /// The store's clock at the claim.
    pub now: Timestamp,
    /// What each document is now, in the order that was asked.
    pub rows: Vec<ClaimedDocument>,
}

/// The outcome of an exchange, to be written if its condition holds.
///
/// [`DocumentWrite::Refresh`] is conditional on the refresh token that was sent, but not on the lease: the new
/// token is the only one that still lives, so it is written even if the lease ran out meanwhile. Where
/// the token stays the same it is conditional on the generation as well. Every other write is
/// conditional on token, generation and lease. So none can overwrite another worker's rotation or a
/// user who has signed in again.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The document.
    pub id: DocumentId,
    /// The claim's owner.
    pub owner: String,
    /// The generation that was claimed. None for a document that could not be read.
    pub generation: Option<u64>,
    /// The refresh token that was sent, or would have been. None where there was none.
    pub sent: Option<SecretString>,
    /// What the store noted when it was claimed.
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

    /// Whether the answer has replaced the token that was sent, which is spent then.
    pub fn rotates(&self) -> bool {
        match (&self.write, &self.sent) {
            (DocumentWrite::Refresh { refresh_token: Some(new), .. }, Some(sent)) => {
                new.expose_secret() != sent.expose_secret()
            }
            _ => false,
        }
    }

    /// The generation that the document must still have. None where the answer has rotated the token
    /// that was sent: it is newer than whatever else was made of that token.
    pub fn expected_generation(&self) -> Option<u64> {
        self.generation.filter(|_| !self.rotates())
    }
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitResult {
    /// It is written.
    Applied,
    /// The document has moved on: another worker's rotation, or a user who has signed in again.
    /// If the claim still held it, its lease is given back and no job is under way any more.
    Superseded,
}
