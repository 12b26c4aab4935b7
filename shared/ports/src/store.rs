//! Where documents live.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use secrecy::{ExposeSecret, SecretString};

use super::{Finding, GrantFilter, GrantView, StoreError, Unadopted};
use evergrant_domain::{
    ClaimNote, DocumentId, Grant, LastError, ProviderId, ProviderState, Row, Status, Timestamp,
    Write,
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

    /// Gives Evergrant's state to every document that has none and is a provider's of ours
    /// (the rules of adoption): active and due, or [`Status::NoToken`] if it holds no refresh token.
    /// Returns how many. The others are left alone.
    async fn adopt(&self) -> Result<u64, StoreError>;

    /// Counts the documents that [`Self::adopt`] leaves alone, by the reason.
    async fn unadopted(&self) -> Result<Vec<Unadopted>, StoreError>;

    /// The grants that want a job, soonest due first. Memory does not grow with their number.
    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>>;

    /// Notes that a job for each of `ids` that is still due is under way, so that [`Self::due`]
    /// leaves them out for the duration. One that a worker has settled meanwhile is left alone.
    async fn mark_queued(&self, ids: &[DocumentId], duration: Duration) -> Result<(), StoreError>;

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
    ) -> Result<Claimed, StoreError>;

    /// Writes the outcomes of exchanges, durably (acknowledged by a majority, journalled), each on
    /// its condition (see [`Commit`]). One result for each commit, in order.
    ///
    /// # Errors
    /// If it is not known whether all took effect. Trying again is safe: a commit that took effect
    /// is reported as [`Committed::Applied`] again.
    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Committed>, StoreError>;

    /// Puts a document out of reach whose new tokens exist, or may, but cannot be written for now: it ends
    /// as [`evergrant_domain::Status::Failed`] with `last_error`, whatever it was and whoever holds its
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

    /// Makes active and due every grant that has ended and whose document holds another refresh
    /// token than the one that ended, or was repaired
    /// ([`evergrant_domain::EndedDocument::lives_again`]). Looks at `most` documents after a place, or
    /// from the beginning.
    async fn revive_signed_in(
        &self,
        after: Option<SweepPlace>,
        most: u32,
    ) -> Result<Revived, StoreError>;

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

    /// Makes a grant that has ended active and due, with its failures forgotten, and notes that a job
    /// is under way for `queued`. Nothing for a document that is gone, and for one that is paused or
    /// was never adopted. A grant that is active already is returned as it is.
    async fn reactivate(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError>;

    /// Inserts documents, or writes the given fields over those of the document whose `_id` exists,
    /// unless they are older ([`evergrant_domain::import`]): an older document is left as it is. Evergrant's
    /// state of an existing document is kept, unless the document brings its own. One outcome for each
    /// document, in order; each `_id` is in `documents` once.
    ///
    /// # Errors
    /// If not all are known to be written. Trying again is safe.
    async fn import_as(
        &self,
        documents: Vec<ImportDocument>,
        mode: ImportMode,
    ) -> Result<Vec<Imported>, StoreError>;

    /// Imports documents, and leaves out what is older.
    async fn import(&self, documents: Vec<ImportDocument>) -> Result<Vec<Imported>, StoreError> {
        self.import_as(documents, ImportMode::KeepNewer).await
    }

    /// All documents as extended JSON, tokens included, in the order of their `_id`.
    fn export(&self) -> BoxStream<'_, Result<serde_json::Value, StoreError>>;

    /// Which refresh tokens each document holds and held, in the order of their `_id`, as marks
    /// ([`evergrant_domain::marks::mark`]): to find two documents of one grant.
    fn held_tokens(&self) -> BoxStream<'_, Result<HeldTokens, StoreError>>;

    /// What there is and what is missing, for `evergrant doctor`.
    async fn inspect(&self) -> Result<Vec<Finding>, StoreError>;
}

/// How far a sweep has come: it goes through the statuses of [`SweepPlace::ENDED`], one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepPlace {
    /// Among the documents of this status.
    pub status: Status,
    /// The last document that it looked at. None before the first.
    pub id: Option<DocumentId>,
}

impl SweepPlace {
    /// The statuses of grants that can be taken up again by themselves.
    pub const ENDED: [Status; 3] = [Status::NeedsReauth, Status::Failed, Status::NoToken];

    /// Where a sweep begins.
    pub const fn beginning() -> Self {
        Self { status: Self::ENDED[0], id: None }
    }

    /// The place after `looked_at` documents of at most `most`, of which `last` was the last. None at
    /// the end of the sweep.
    pub fn next(&self, looked_at: usize, most: u32, last: Option<DocumentId>) -> Option<Self> {
        if looked_at as u64 >= u64::from(most) && last.is_some() {
            return Some(Self { status: self.status, id: last });
        }
        let place = Self::ENDED.iter().position(|status| *status == self.status)?;
        Self::ENDED.get(place + 1).map(|status| Self { status: *status, id: None })
    }
}

/// What a part of a sweep did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revived {
    /// Grants that are active again.
    pub revived: u64,
    /// Where to go on. None at the end: the next sweep begins anew.
    pub next: Option<SweepPlace>,
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
    /// What the store noted when it was claimed.
    pub note: ClaimNote,
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
            note: grant.note.clone(),
            write,
        }
    }

    /// Whether the answer has replaced the token that was sent, which is spent then.
    pub fn rotates(&self) -> bool {
        match (&self.write, &self.sent) {
            (Write::Refresh { refresh_token: Some(new), .. }, Some(sent)) => {
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

/// Which refresh tokens a document holds and held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTokens {
    /// The document.
    pub id: DocumentId,
    /// The mark of its refresh token, if it has one.
    pub held: Option<i64>,
    /// Marks of the last ones that it held before.
    pub before: Vec<i64>,
}

/// What an import may do to documents that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportMode {
    /// What is older than the document in the store is left out, and so is a twin.
    KeepNewer,
    /// What is older is written all the same. A twin is left out.
    Overwrite,
    /// Everything is written as it is: this is a copy of another store.
    Copy,
}

/// What became of a document to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    /// It is new.
    Inserted,
    /// Its fields were written over those of the document with its `_id`.
    Updated,
    /// It was left out, since Evergrant has refreshed the document in the store since.
    Kept,
    /// It was left out, since nobody can tell whether it is older than the document in the store.
    KeptUnknown,
    /// It was left out, since there is a document whose `_id` people take for the same: one is an
    /// ObjectId, the other its hexadecimal digits.
    Twin(DocumentId),
}
