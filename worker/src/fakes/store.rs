//! A fake store whose documents are all alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use evergrant_domain::{
    ClaimedDocument, DocumentFields, DocumentId, Grant, LastError, Lease, PreviousOwner,
    ProviderId, Timestamp,
};
use evergrant_ports::*;
use tokio::time::Instant;

/// Grants every claim, after a delay.
#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) claim_takes: Duration,
    /// The lease on every document, if another worker has one.
    pub(crate) held: Mutex<Option<Lease>>,
    /// The owners of leases on documents.
    pub(crate) leases: Mutex<BTreeMap<DocumentId, String>>,
    /// A document whose writes the store refuses.
    pub(crate) refuses: Mutex<Option<DocumentId>>,
    /// Documents whose claims the store refuses.
    pub(crate) refuses_claims: Mutex<BTreeSet<DocumentId>>,
    /// When the access tokens expire according to the application.
    pub(crate) signed_in_until: Option<Timestamp>,
    /// The other fields of each document.
    pub(crate) fields: DocumentFields,
    /// The number of claims.
    pub(crate) claims: AtomicU32,
    /// The leader of each role.
    pub(crate) leaders: Mutex<BTreeMap<String, String>>,
    /// How long commits fail, from the first one.
    pub(crate) away_for: Mutex<Duration>,
    pub(crate) away_since: Mutex<Option<Instant>>,
    /// A commit of more documents than this times out.
    pub(crate) too_many: Option<usize>,
    pub(crate) committed: Mutex<Vec<Commit>>,
    /// Withheld documents, with the fingerprints of their spent tokens.
    pub(crate) withheld: Mutex<Vec<(DocumentId, String)>>,
    /// How many of the next write calls hang.
    pub(crate) unanswered: AtomicU32,
    /// Whether no document still holds the token that was sent.
    pub(crate) moved_on: AtomicBool,
    /// The documents of each renewal call.
    pub(crate) renewed: Mutex<Vec<Vec<DocumentId>>>,
    /// The duration of a commit.
    pub(crate) commit_takes: Duration,
    /// Commits under way, and their maximum.
    pub(crate) committing: Mutex<(usize, usize)>,
}

impl FakeStore {
    fn answers(&self, operation: &'static str) -> Result<(), StoreError> {
        let since = *self.away_since.lock().unwrap().get_or_insert_with(Instant::now);
        if since.elapsed() < *self.away_for.lock().unwrap() {
            let reason = "away".to_owned();
            return Err(StoreError::Unavailable { operation, reason });
        }
        Ok(())
    }

    async fn take_its_time(&self) {
        let count = |change: isize| {
            let (now, most) = &mut *self.committing.lock().unwrap();
            *now = now.checked_add_signed(change).unwrap();
            *most = (*most).max(*now);
        };
        count(1);
        tokio::time::sleep(self.commit_takes).await;
        count(-1);
    }

    /// Hangs if this call is one that shall.
    async fn hang(&self) {
        if self.unanswered.load(Ordering::Relaxed) > 0 {
            self.unanswered.fetch_sub(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
    }
}

fn grant(id: &DocumentId) -> Grant {
    Grant {
        id: id.clone(),
        generation: 0,
        refresh_token: "token".into(),
        ..Grant::example(Timestamp::default())
    }
}

#[async_trait]
impl StoreClock for FakeStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.answers("now").map(|()| Timestamp::default())
    }
}

#[async_trait]
impl LeaseStore for FakeStore {
    async fn claim(
        &self,
        ids: &[DocumentId],
        owner: &str,
        _lease: Duration,
    ) -> Result<ClaimResult, StoreError> {
        tokio::time::sleep(self.claim_takes).await;
        self.claims.fetch_add(1, Ordering::Relaxed);
        let refused = self.refuses_claims.lock().unwrap();
        if ids.iter().any(|id| refused.contains(id)) {
            let reason = "a rule".to_owned();
            return Err(StoreError::Refused { operation: "claim", reason });
        }
        drop(refused);
        let held = self.held.lock().unwrap().clone();
        let is_over = held.as_ref().is_none_or(|held| held.until == Timestamp::default());
        let predecessor = |held: &Lease| is_over.then(|| PreviousOwner::Claim(held.owner.clone()));
        let lease = held.map(|held| Box::new(Lease { taken_over: predecessor(&held), ..held }));
        let told = self.signed_in_until;
        let fields = &self.fields;
        let grant =
            |id: &DocumentId| Grant { signed_in_until: told, fields: fields.clone(), ..grant(id) };
        let mut leases = self.leases.lock().unwrap();
        let row = |id: &DocumentId| {
            let owned =
                is_over && leases.entry(id.clone()).or_insert_with(|| owner.to_owned()) == owner;
            ClaimedDocument::Present { grant: grant(id), lease: lease.clone(), owned }
        };
        Ok(ClaimResult { now: Timestamp::default(), rows: ids.iter().map(row).collect() })
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitResult>, StoreError> {
        self.answers("commit")?;
        self.hang().await;
        self.take_its_time().await;
        if self.too_many.is_some_and(|too_many| commits.len() > too_many) {
            tokio::time::sleep(Duration::from_secs(45)).await;
            let reason = "no answer in time".to_owned();
            return Err(StoreError::Unavailable { operation: "commit", reason });
        }
        let refuses = self.refuses.lock().unwrap().clone();
        if commits.iter().any(|commit| Some(&commit.id) == refuses.as_ref()) {
            let reason = "a rule".to_owned();
            return Err(StoreError::Refused { operation: "commit", reason });
        }
        self.committed.lock().unwrap().extend_from_slice(commits);
        let mut leases = self.leases.lock().unwrap();
        commits.iter().for_each(|commit| drop(leases.remove(&commit.id)));
        *self.held.lock().unwrap() = None;
        Ok(vec![CommitResult::Applied; commits.len()])
    }

    async fn withhold(
        &self,
        id: &DocumentId,
        spent: &str,
        _: &LastError,
    ) -> Result<bool, StoreError> {
        self.answers("withhold")?;
        self.hang().await;
        self.withheld.lock().unwrap().push((id.clone(), spent.to_owned()));
        Ok(!self.moved_on.load(Ordering::Relaxed))
    }

    async fn release(&self, ids: &[DocumentId], owner: &str) -> Result<(), StoreError> {
        let mut leases = self.leases.lock().unwrap();
        leases.retain(|id, holder| holder != owner || !ids.contains(id));
        Ok(())
    }

    async fn renew(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        self.renewed.lock().unwrap().push(ids.to_vec());
        self.hang().await;
        if let Some(id) = &*self.refuses.lock().unwrap()
            && ids.contains(id)
        {
            let reason = "a rule".to_owned();
            return Err(StoreError::Refused { operation: "renew", reason });
        }
        let mut held = self.held.lock().unwrap();
        if let Some(held) = held.as_mut().filter(|held| held.owner == owner) {
            held.until = Timestamp::default().plus(lease);
        }
        Ok(())
    }

    async fn revive_dead(&self, _: &ProviderId, _: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl LeaderElection for FakeStore {
    async fn lead(&self, role: &str, owner: &str, _: Duration) -> Result<bool, StoreError> {
        let mut leaders = self.leaders.lock().unwrap();
        Ok(leaders.entry(role.to_owned()).or_insert_with(|| owner.to_owned()) == owner)
    }

    async fn resign(&self, role: &str, _: &str) -> Result<(), StoreError> {
        self.leaders.lock().unwrap().remove(role);
        Ok(())
    }
}
