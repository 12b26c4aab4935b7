//! Where documents live.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use secrecy::{ExposeSecret, SecretString};

use super::{Finding, GrantFilter, GrantView, StoreError};
use crate::domain::{
    DocumentId, Grant, LastError, ProviderId, ProviderState, Row, Timestamp, Write,
};

/// Where token documents live. The document is the truth.
///
/// Every time that decides something is the store's own clock, so replicas' clocks don't matter.
#[async_trait]
pub trait TokenStore: Send + Sync + 'static {
    /// Makes indexes and whatever else the adapter needs; does nothing where they exist. Checks
    /// that the server's clock works in conditional updates, since leases depend on it.
    async fn prepare(&self) -> Result<(), StoreError>;

    /// The store's clock.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Gives Evergrant's state to every document that has none: active and due. Returns how many.
    async fn adopt(&self) -> Result<u64, StoreError>;

    /// The grants that want a job, soonest due first. Memory does not grow with their number.
    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>>;

    /// Notes that a job for each of `ids` that is still due is under way, so that [`Self::due`]
    /// leaves them out for the duration. One that a worker has settled meanwhile is left alone.
    async fn mark_queued(&self, ids: &[DocumentId], duration: Duration) -> Result<(), StoreError>;

    /// Takes the lease of each document of `ids` that is active and whose lease is free or over,
    /// for `owner` (unique to this claim), and reads all of `ids`.
    ///
    /// Trying again with the same owner is the same claim: what a try took whose answer was lost is
    /// held, for `lease` from now.
    ///
    /// A lease that was over but not given back means that its holder died: then the new one says
    /// that it was taken over ([`crate::domain::Lease::taken_over`]).
    async fn claim(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<Claimed, StoreError>;

    /// Writes the outcomes of exchanges, durably (acknowledged by a majority, journalled), each on
    /// its condition (see [`Commit`]). One result for each commit, in order.
    ///
    /// # Errors
    /// If it is not known whether all took effect. Trying again is safe: a commit that took effect
    /// is reported as [`Committed::Applied`] again.
    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Committed>, StoreError>;

    /// Puts a document out of reach whose new tokens exist, or may, but cannot be written for now: it ends
    /// as [`crate::domain::Status::Failed`] with `last_error`, whatever it was and whoever holds its
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

    /// Takes or keeps the lead in `role` for `owner`, for the duration `lease`. False if another
    /// owner has it.
    async fn lead(&self, role: &str, owner: &str, lease: Duration) -> Result<bool, StoreError>;

    /// Gives up the lead in `role`, if `owner` has it, so that another need not wait for its end.
    async fn resign(&self, role: &str, owner: &str) -> Result<(), StoreError>;

    /// Makes active and due every grant that needs sign-in and whose refresh token is another than
    /// the one that died: the user has signed in again. Returns how many.
    async fn revive_signed_in(&self) -> Result<u64, StoreError>;

    /// Makes active and due every grant of `provider` that was given up as dead at `since` or later
    /// and still holds the token that died: those deaths are no longer believed. Returns how many.
    async fn revive_dead(&self, provider: &ProviderId, since: Timestamp)
    -> Result<u64, StoreError>;

    /// What all replicas know of a provider: its budget, its pauses and its circuit. A provider
    /// that nobody has written about yet is as [`ProviderState::default`] has it, in version 0.
    async fn provider_state(
        &self,
        provider: &ProviderId,
    ) -> Result<Versioned<ProviderState>, StoreError>;

    /// Replaces what is known of a provider if it is still in `version`; it is in the next version
    /// then. False if someone else was faster: read it again and decide anew.
    async fn set_provider_state(
        &self,
        provider: &ProviderId,
        version: u64,
        state: &ProviderState,
    ) -> Result<bool, StoreError>;

    /// What operators see of grants, in the order of [`GrantFilter::order`].
    fn list(&self, filter: GrantFilter) -> BoxStream<'_, Result<GrantView, StoreError>>;

    /// One grant as operators see it.
    async fn get(&self, id: &DocumentId) -> Result<Option<GrantView>, StoreError>;

    /// Makes a grant that needs sign-in or failed active and due, with its failures forgotten, and
    /// notes that a job is under way for `queued`. Nothing for a document that is gone. A grant
    /// that is active already is returned as it is.
    async fn reactivate(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError>;

    /// Inserts documents, or writes the given fields over those of the document whose `_id` exists.
    /// Evergrant's state of an existing document is kept, unless the document brings its own.
    async fn import(&self, documents: Vec<ImportDocument>) -> Result<ImportCount, StoreError>;

    /// All documents as extended JSON, tokens included, in the order of their `_id`.
    fn export(&self) -> BoxStream<'_, Result<serde_json::Value, StoreError>>;

    /// What there is and what is missing, for `evergrant doctor`.
    async fn inspect(&self) -> Result<Vec<Finding>, StoreError>;
}

/// Something that replicas change one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// What it is.
    pub value: T,
    /// How often it was changed.
    pub version: u64,
    /// The store's clock when it was read.
    pub now: Timestamp,
    /// How wrong `now` may be to either side, where the adapter estimates the store's clock at the
    /// moment of its answer. None where the server read its clock between the question and the answer.
    pub now_error: Option<Duration>,
}

/// Which grants want a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueQuery {
    /// Of this provider.
    pub provider: ProviderId,
    /// Which of its active grants.
    pub which: Which,
    /// Only those due at this time or later: where an earlier reading ended.
    pub from: Option<Timestamp>,
}

/// Which active grants want a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those that are due by the schedule and have no job under way.
    Due,
    /// All of them.
    All,
    /// Those of one user, by the application's user id.
    User(String),
}

/// A grant that wants a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueGrant {
    /// The document.
    pub id: DocumentId,
    /// Its provider.
    pub provider: ProviderId,
    /// Its generation.
    pub generation: u64,
    /// When it is due.
    pub next_refresh_at: Timestamp,
}

/// The answer to a claim.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The store's clock at the claim.
    pub now: Timestamp,
    /// What each document is now, in the order that was asked.
    pub rows: Vec<Row>,
}

/// The outcome of an exchange, to be written if its condition holds.
///
/// [`Write::Refresh`] is conditional on the refresh token that was sent, but not on the lease: the new
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
    /// What to write.
    pub write: Write,
}

impl Commit {
    /// The commit of a claimed grant.
    pub fn of_grant(grant: &Grant, owner: &str, write: Write) -> Self {
        Self {
            id: grant.id.clone(),
            owner: owner.to_owned(),
            generation: Some(grant.generation),
            sent: Some(grant.refresh_token.clone()),
            write,
        }
    }

    /// The generation that the document must still have. None where the answer has rotated the token
    /// that was sent: it is newer than whatever else was made of that token.
    pub fn expected_generation(&self) -> Option<u64> {
        self.generation.filter(|_| !self.rotates())
    }

    /// Whether it writes another refresh token than the one that was sent.
    pub fn rotates(&self) -> bool {
        match (&self.write, &self.sent) {
            (Write::Refresh { refresh_token: Some(new), .. }, Some(sent)) => {
                new.expose_secret() != sent.expose_secret()
            }
            _ => false,
        }
    }
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It is written.
    Applied,
    /// The document has moved on: another worker's rotation, or a user who has signed in again.
    /// If the claim still held it, its lease is given back and no job is under way any more.
    Superseded,
}

/// A document to import: extended JSON with an `_id`.
#[derive(Clone)]
pub struct ImportDocument(pub serde_json::Map<String, serde_json::Value>);

impl std::fmt::Debug for ImportDocument {
    /// Nothing of the document: it holds tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ImportDocument")
    }
}

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportCount {
    /// Documents that are new.
    pub inserted: u64,
    /// Documents whose application's fields were replaced.
    pub updated: u64,
}
