//! The two ports: where documents live and how jobs travel. Everything else is pure or at the
//! edges. One conformance suite (`tests/suite/conformance`) holds for every adapter.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use secrecy::SecretString;

use crate::domain::{
    DeadLetter, DocumentId, Grant, Job, LastError, ProviderId, ProviderState, Row, SealedAnswer,
    Status, Timestamp, Write,
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

    /// What operators see of grants, in the order of their `_id`.
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
/// [`Write::Refresh`] is conditional on the refresh token that was sent and on the generation, but
/// not on the lease: the new token is the only one that still lives, so it is written even if the
/// lease ran out meanwhile. Every other write is conditional on the lease as well. So neither can
/// overwrite another worker's rotation or a user who has signed in again.
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

/// Which grants an operator wants to see. Empty fields don't filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantFilter {
    /// Of this provider.
    pub provider: Option<ProviderId>,
    /// In this status.
    pub status: Option<Status>,
    /// Of this user, by the application's user id.
    pub user: Option<String>,
    /// With this email address.
    pub email: Option<String>,
    /// At most so many.
    pub limit: Option<u64>,
}

/// A grant as operators see it: no token, nor anything made from one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GrantView {
    /// The document.
    pub id: DocumentId,
    /// The application's user id.
    pub user: Option<String>,
    /// The user's email address.
    pub email: Option<String>,
    /// The provider. None for a document that is not adopted yet.
    pub provider: Option<ProviderId>,
    /// The status. None for a document that is not adopted yet.
    pub status: Option<Status>,
    /// How many times it has been refreshed.
    pub generation: u64,
    /// When it was refreshed last.
    pub refreshed_at: Option<Timestamp>,
    /// When the access token expires.
    pub access_expires_at: Option<Timestamp>,
    /// When the refresh token dies unless it is exchanged.
    pub refresh_idle_until: Option<Timestamp>,
    /// When the grant ends whatever is done.
    pub refresh_absolute_until: Option<Timestamp>,
    /// When it is due.
    pub next_refresh_at: Option<Timestamp>,
    /// Until when a job for it is taken to be under way.
    pub queued_until: Option<Timestamp>,
    /// When its lease ends, if one is held.
    pub leased_until: Option<Timestamp>,
    /// Failed attempts since the last success.
    pub attempts: u32,
    /// Whether an answer to its present refresh token may have been lost.
    pub in_doubt: bool,
    /// What went wrong last.
    pub last_error: Option<LastError>,
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

/// How jobs travel. The queue is a hint: losing every message costs time, never a token.
///
/// A queue or an exchange that somebody deletes under a running process is made again by the
/// operation that misses it.
#[async_trait]
pub trait JobQueue: Send + Sync + 'static {
    /// Makes exchanges, queues and bindings; does nothing where they exist as expected.
    ///
    /// # Errors
    /// [`QueueError::Mismatch`] for one that exists with other arguments.
    async fn prepare(&self) -> Result<(), QueueError>;

    /// How many jobs wait in a provider's work queues.
    async fn depth(&self, provider: &ProviderId) -> Result<u64, QueueError>;

    /// Publishes jobs to the work queues of their providers, several unconfirmed at a time, and
    /// returns when the broker has confirmed that each is in its queue.
    ///
    /// # Errors
    /// If not all are confirmed. Some may be in their queues nevertheless; sending them again makes
    /// duplicates, which are harmless.
    async fn publish(&self, jobs: &[Job]) -> Result<(), QueueError>;

    /// Publishes a job that comes back to its work queue after `delay`, a rung of the ladder.
    /// Returns when it is confirmed.
    async fn retry(&self, job: &Job, delay: Duration) -> Result<(), QueueError>;

    /// Publishes a dead letter. Returns when it is confirmed.
    async fn bury(&self, letter: &DeadLetter) -> Result<(), QueueError>;

    /// Puts a sealed answer of a provider into the rescue queue, for any worker to commit. Returns
    /// when it is confirmed.
    async fn rescue(&self, answer: &SealedAnswer) -> Result<(), QueueError>;

    /// Consumes the rescue queue: each delivery's body is an encoded [`SealedAnswer`].
    async fn consume_rescues(&self, prefetch: u16) -> Result<Box<dyn Intake>, QueueError>;

    /// Consumes a provider's work queues, all shards or some, with at most `prefetch` deliveries
    /// unacknowledged, but at least one for each shard.
    async fn consume(
        &self,
        provider: &ProviderId,
        shards: Option<&[u16]>,
        prefetch: u16,
    ) -> Result<Box<dyn Intake>, QueueError>;

    /// Looks through a provider's dead letters, oldest first. Looking changes neither the queue
    /// nor its order.
    async fn dead_letters(&self, provider: &ProviderId)
    -> Result<Box<dyn DeadLetters>, QueueError>;

    /// What there is and what is missing, for `evergrant doctor`.
    async fn inspect(&self) -> Result<Vec<Finding>, QueueError>;
}

/// Deliveries of one consumer.
#[async_trait]
pub trait Intake: Send {
    /// The next delivery. None when the consumer has ended: the broker cancelled it or the
    /// connection is lost; what was not acknowledged will be delivered again. Dropping the future
    /// before it ends loses no delivery.
    async fn next(&mut self) -> Option<Delivery>;

    /// Stops deliveries. Those that were handed out can still be acknowledged; those that were
    /// not go back to the queue.
    async fn stop(&mut self);
}

/// A message and the right to acknowledge it.
pub struct Delivery {
    /// The message's body.
    pub body: Vec<u8>,
    /// It was delivered before, to a consumer that did not acknowledge it.
    pub redelivered: bool,
    /// Acknowledges it. Dropped without that, it is delivered again once the consumer is gone.
    pub acker: Box<dyn Acker>,
}

/// The right to acknowledge one delivery.
#[async_trait]
pub trait Acker: Send + Sync {
    /// Acknowledges it, once. A failure means that it will be delivered again, which is harmless.
    async fn ack(self: Box<Self>) -> Result<(), QueueError>;
}

/// A look through a provider's dead letters. What is not removed is back in its place when this is
/// closed or dropped.
#[async_trait]
pub trait DeadLetters: Send {
    /// How many there were when the look began; it ends there, so that what is sent back and dies
    /// again is not met a second time.
    fn cutoff(&self) -> u64;

    /// The next dead letter, None at the cut-off.
    async fn next(&mut self) -> Result<Option<DeadLetter>, QueueError>;

    /// Removes the dead letter that [`Self::next`] returned last, for good.
    async fn remove(&mut self) -> Result<(), QueueError>;

    /// Ends the look.
    async fn close(self: Box<Self>) -> Result<(), QueueError>;
}

/// How [`Finding::what`] begins where it is about the documents of one provider.
pub const DOCUMENTS_OF: &str = "documents of ";

/// One thing that `evergrant doctor` looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, and if it is not as it should be, what to do.
    pub detail: String,
}

/// A store that did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or is not ready to write; the same may work later.
    #[error("{operation}: the token store is not available: {reason}")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// What the driver says, without credentials.
        reason: String,
    },
    /// It refuses, and will again.
    #[error("{operation}: the token store refuses: {reason}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Why, and what to do.
        reason: String,
    },
}

/// A queue that did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// It cannot be reached, or the connection was lost; the same may work later.
    #[error("{operation}: the job queue is not available: {reason}")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// What the client says, without credentials.
        reason: String,
    },
    /// A queue or exchange exists with other arguments than this release wants.
    #[error(
        "the queue or exchange {name} exists with other arguments: {reason}. Delete it when it is \
         empty, or choose another queue.prefix"
    )]
    Mismatch {
        /// Its name.
        name: String,
        /// What the broker says.
        reason: String,
    },
    /// A message did not get into its queue.
    #[error("{operation}: not confirmed: {reason}")]
    Unconfirmed {
        /// What was asked.
        operation: &'static str,
        /// What the broker says.
        reason: String,
    },
    /// It refuses, and will again.
    #[error("{operation}: the job queue refuses: {reason}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Why, and what to do.
        reason: String,
    },
}
