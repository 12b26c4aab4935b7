//! Group commit: outcomes that arrive while a group waits or is being written form the next one, so
//! groups grow with the load. A lane writes a second group concurrently only if that group is full.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evergrant_ports::Backoff;
use evergrant_ports::{Commit, CommitResult, LeaseStore, StoreError};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::flow::store_limiter::{StoreLimiter, StorePermit};

/// Writes outcomes in groups. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Committer {
    groups: mpsc::Sender<Request>,
    written_at: WrittenAt,
}

/// When the store last wrote something.
type WrittenAt = Arc<Mutex<Option<Instant>>>;

struct Request {
    commit: Commit,
    reply: Reply,
}

/// The caller that waits for the result of a commit.
struct Reply {
    committed: oneshot::Sender<CommitResult>,
    /// The caller's flow permit. It is released when the outcome is written, or when the store
    /// refuses this document alone: such a refusal may last, while answers pile up only before a
    /// slow store.
    flow_permit: Option<OwnedSemaphorePermit>,
}

/// The most groups of a lane that are under way, including retries: a store that fails because it
/// is overloaded gets no additional work.
const GROUPS: usize = 2;

/// A store that fails after this time was overloaded. One that is unavailable fails at once.
const SLOW_WRITE_DELAY: Duration = Duration::from_secs(5);

/// The wait before a refused document is written again; it doubles.
const REFUSED_FIRST_DELAY: Duration = Duration::from_millis(100);
const REFUSED_DELAY_MAX: Duration = Duration::from_secs(15);

impl Committer {
    /// Starts the writer task: groups of at most `batch` documents, each with a permit of
    /// `store_limiter`, counted in `written`. The task ends when the last clone is gone and
    /// everything is written.
    pub(crate) fn start(
        store: Arc<dyn LeaseStore>,
        store_limiter: StoreLimiter,
        batch: usize,
        written: &Counter,
    ) -> Self {
        let (groups, requests) = mpsc::channel(batch);
        let written_at = WrittenAt::default();
        let writer = Writer {
            store,
            store_limiter,
            written: written.clone(),
            written_at: written_at.clone(),
        };
        tokio::spawn(write_groups(writer, requests, batch));
        Self { groups, written_at }
    }

    /// Whether the store has written anything since then.
    pub(crate) fn has_written_since(&self, since: Instant) -> bool {
        let written_at = *self.written_at.lock().unwrap_or_else(PoisonError::into_inner);
        written_at.is_some_and(|at| at > since)
    }

    /// Writes an outcome and returns its result. It retries while the process lives, because until
    /// it is written a provider's answer exists nowhere else. None only when the process is ending.
    pub(crate) async fn commit(
        &self,
        commit: Commit,
        flow_permit: Option<OwnedSemaphorePermit>,
    ) -> Option<CommitResult> {
        let (reply, committed) = oneshot::channel();
        let reply = Reply { committed: reply, flow_permit };
        self.groups.send(Request { commit, reply }).await.ok()?;
        committed.await.ok()
    }
}

async fn write_groups(writer: Writer, mut requests: mpsc::Receiver<Request>, batch: usize) {
    let (mut group, mut writing) = (Vec::with_capacity(batch), JoinSet::new());
    let mut permits = writer.store_limiter.queue();
    let mut more_may_come = true;
    while more_may_come || !group.is_empty() || !writing.is_empty() {
        let room = batch - group.len();
        tokio::select! {
            biased;
            Some(_) = writing.join_next() => {}
            turn = permits.next(), if begins(group.len(), batch, writing.len()) => {
                let group = std::mem::replace(&mut group, Vec::with_capacity(batch));
                writing.spawn(writer.clone().write_group(group, turn));
            }
            count = requests.recv_many(&mut group, room), if more_may_come && room > 0 => {
                more_may_come = count > 0;
            }
        }
    }
}

/// Whether a group of `waiting` outcomes, at most `batch`, may be written beside `writing` others.
fn begins(waiting: usize, batch: usize, writing: usize) -> bool {
    match writing {
        0 => waiting > 0,
        _ => waiting == batch && writing < GROUPS,
    }
}

/// What is needed to write a group.
#[derive(Clone)]
struct Writer {
    store: Arc<dyn LeaseStore>,
    store_limiter: StoreLimiter,
    written: Counter,
    written_at: WrittenAt,
}

impl Writer {
    async fn write_group(self, group: Vec<Request>, turn: StorePermit) {
        let (commits, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|request| (request.commit, request.reply)).unzip();
        match self.write_while_away(&commits, turn).await {
            Ok(results) => {
                self.written.inc();
                reply_all(replies, results);
            }
            Err(error) => {
                let documents = commits.len();
                tracing::warn!(%error, documents, "the store refuses a commit group: writing its documents one by one");
                self.write_one_by_one(commits, replies);
            }
        }
    }

    /// A document that the store refuses, by a rule of its own, must delay neither its group nor
    /// later groups. Its answer is kept, because the rule may be corrected.
    fn write_one_by_one(self, commits: Vec<Commit>, replies: Vec<Reply>) {
        for (commit, reply) in commits.into_iter().zip(replies) {
            let this = self.clone();
            tokio::spawn(async move { this.write_one(&[commit], reply).await });
        }
    }

    /// Writes one document, however often the store refuses it.
    async fn write_one(&self, commit: &[Commit], mut reply: Reply) {
        let mut backoff = Backoff::new(REFUSED_FIRST_DELAY, REFUSED_DELAY_MAX);
        let mut told = false;
        loop {
            let turn = self.store_limiter.next().await;
            match self.write_while_away(commit, turn).await {
                Ok(results) => return reply_all(vec![reply], results),
                Err(error) => {
                    drop(reply.flow_permit.take());
                    report(&error, commit, std::mem::replace(&mut told, true));
                }
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Writes until the store has written everything or refuses, however long it is unavailable.
    /// Between two tries, other callers get the permit. A store that is too slow for the whole
    /// group would get the same work again and again, so a slow try halves the next one.
    async fn write_while_away(
        &self,
        commits: &[Commit],
        mut turn: StorePermit,
    ) -> Result<Vec<CommitResult>, StoreError> {
        let mut backoff = Backoff::for_an_answer();
        let mut told = false;
        let (mut results, mut most) = (Vec::with_capacity(commits.len()), commits.len());
        loop {
            let left = &commits[results.len()..];
            let part = &left[..most.min(left.len())];
            let tried_at = Instant::now();
            let written = self.store.commit(part).await;
            drop(turn);
            match written {
                Ok(written) => {
                    let now = Some(Instant::now());
                    *self.written_at.lock().unwrap_or_else(PoisonError::into_inner) = now;
                    results.extend(written);
                    if results.len() == commits.len() {
                        return Ok(results);
                    }
                }
                Err(error @ StoreError::Unavailable { .. }) => {
                    report(&error, part, std::mem::replace(&mut told, true));
                    if tried_at.elapsed() >= SLOW_WRITE_DELAY {
                        most = part.len().div_ceil(2);
                    }
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
            turn = self.store_limiter.next().await;
        }
    }
}

fn reply_all(replies: Vec<Reply>, results: Vec<CommitResult>) {
    for (reply, committed) in replies.into_iter().zip(results) {
        // The receiver is gone only when the process is ending.
        let _ = reply.committed.send(committed);
    }
}

/// Logs a failure as an error once, however often it is retried.
fn report(error: &StoreError, commits: &[Commit], told: bool) {
    let documents = commits.len();
    if told {
        tracing::debug!(%error, documents, "commit failed again");
    } else {
        tracing::error!(%error, documents, "commit failed: keeping the answers and trying again");
    }
}

#[cfg(test)]
mod tests {
    use evergrant_domain::decide::decide_malformed;
    use evergrant_domain::{ClaimNote, DocumentId, Timestamp};
    use futures::future::join_all;

    use super::*;
    use crate::fakes::FakeStore;

    fn commit(id: i64) -> Commit {
        let write = decide_malformed("no token", None, Timestamp::default()).write;
        let (id, owner) = (DocumentId::Integer(id), "worker".to_owned());
        Commit { id, owner, generation: None, sent: None, note: ClaimNote::default(), write }
    }

    #[test]
    fn a_group_is_written_beside_another_only_if_it_is_full() {
        assert!(begins(1, 64, 0));
        assert!(!begins(0, 64, 0));
        assert!(!begins(63, 64, 1));
        assert!(begins(64, 64, 1));
        assert!(!begins(64, 64, GROUPS));
    }

    #[tokio::test(start_paused = true)]
    async fn commits_that_wait_for_a_permit_form_one_group() {
        let (store, store_limiter) = (Arc::new(FakeStore::default()), StoreLimiter::new());
        let written = Counter::default();
        let committer = Committer::start(store.clone(), store_limiter.clone(), 64, &written);
        let committer = &committer;
        let busy = (store_limiter.next().await, store_limiter.next().await);
        let commits = (1_i64..=10).map(|id| async move {
            tokio::time::sleep(Duration::from_millis(id.unsigned_abs())).await;
            committer.commit(commit(id), None).await
        });
        let free = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(busy);
        };
        tokio::join!(join_all(commits), free);
        assert_eq!((store.committed.lock().unwrap().len(), written.get()), (10, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_store_gets_smaller_groups() {
        let too_many = Some(8);
        let store = Arc::new(FakeStore { too_many, ..FakeStore::default() });
        let committer =
            Committer::start(store.clone(), StoreLimiter::new(), 64, &Counter::default());
        let committer = &committer;
        let results = join_all((1..=64).map(|id| committer.commit(commit(id), None))).await;
        assert!(results.iter().all(|result| *result == Some(CommitResult::Applied)));
        let committed = store.committed.lock().unwrap();
        let ids: Vec<_> = committed.iter().map(|commit| commit.id.clone()).collect();
        assert_eq!(ids, (1..=64).map(DocumentId::Integer).collect::<Vec<_>>(), "each once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_cannot_be_written_releases_its_permit() {
        let away_for = Duration::from_secs(60).into();
        let store = Arc::new(FakeStore { away_for, ..FakeStore::default() });
        let store_limiter = StoreLimiter::new();
        let committer =
            Committer::start(store.clone(), store_limiter.clone(), 64, &Counter::default());
        let _claiming = store_limiter.next().await;
        let writing = tokio::spawn(async move { committer.commit(commit(1), None).await });
        tokio::time::sleep(Duration::from_secs(10)).await;
        let others = tokio::time::timeout(Duration::from_secs(10), store_limiter.next()).await;
        assert!(others.is_ok() && store.committed.lock().unwrap().is_empty());
        drop(others);
        assert_eq!(writing.await.unwrap(), Some(CommitResult::Applied));
    }
}
