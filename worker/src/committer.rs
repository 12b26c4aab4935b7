//! Group commit: outcomes that arrive while one group is being written form the next one, so a
//! group waits for nothing and grows with the load.

use std::sync::Arc;

use evergrant_shared::backoff::Backoff;
use evergrant_shared::ports::{Commit, Committed, StoreError, TokenStore};
use tokio::sync::{mpsc, oneshot};

/// Writes outcomes in groups. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Committer {
    groups: mpsc::Sender<Request>,
}

struct Request {
    commit: Commit,
    reply: oneshot::Sender<Committed>,
}

/// Groups that are written at once: one on the wire while the next one forms.
const WRITERS: usize = 2;

impl Committer {
    /// Starts writing to `store`, at most `batch` documents in a group. It ends when the last clone
    /// is gone and everything is written.
    pub(crate) fn start(store: Arc<dyn TokenStore>, batch: usize) -> Self {
        let (groups, requests) = mpsc::channel(batch.saturating_mul(WRITERS));
        let requests = Arc::new(tokio::sync::Mutex::new(requests));
        for _ in 0..WRITERS {
            tokio::spawn(write_groups(Arc::clone(&store), Arc::clone(&requests), batch));
        }
        Self { groups }
    }

    /// Writes an outcome and says what became of it. It does not give up while the process lives:
    /// an answer of the provider exists nowhere else until it is written. None only when the
    /// process is ending.
    pub(crate) async fn commit(&self, commit: Commit) -> Option<Committed> {
        let (reply, committed) = oneshot::channel();
        self.groups.send(Request { commit, reply }).await.ok()?;
        committed.await.ok()
    }
}

async fn write_groups(
    store: Arc<dyn TokenStore>,
    requests: Arc<tokio::sync::Mutex<mpsc::Receiver<Request>>>,
    batch: usize,
) {
    loop {
        let mut group = Vec::with_capacity(batch);
        if requests.lock().await.recv_many(&mut group, batch).await == 0 {
            return;
        }
        let (commits, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|request| (request.commit, request.reply)).unzip();
        match write(&*store, &commits, While::Unavailable).await {
            Some(results) => reply_all(replies, results),
            None => write_one_by_one(&store, commits, replies),
        }
    }
}

/// A document that the store refuses, by a rule of its own, must hold up neither the others of its
/// group nor the groups after it, and its answer is still not given up: a rule can be mended.
fn write_one_by_one(
    store: &Arc<dyn TokenStore>,
    commits: Vec<Commit>,
    replies: Vec<oneshot::Sender<Committed>>,
) {
    for (commit, reply) in commits.into_iter().zip(replies) {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            if let Some(results) = write(&*store, &[commit], While::Failing).await {
                reply_all(vec![reply], results);
            }
        });
    }
}

fn reply_all(replies: Vec<oneshot::Sender<Committed>>, results: Vec<Committed>) {
    for (reply, committed) in replies.into_iter().zip(results) {
        // The receiver is gone only when the process is ending.
        let _ = reply.send(committed);
    }
}

/// As long as what a write is tried again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum While {
    /// The store is away.
    Unavailable,
    /// It fails in whatever way.
    Failing,
}

/// Writes until it is written. None if the store refuses and that is not to be tried again.
async fn write(store: &dyn TokenStore, commits: &[Commit], again: While) -> Option<Vec<Committed>> {
    let mut backoff = Backoff::for_an_answer();
    let mut told = false;
    loop {
        match store.commit(commits).await {
            Ok(committed) => return Some(committed),
            Err(error @ StoreError::Refused { .. }) if again == While::Unavailable => {
                let documents = commits.len();
                tracing::warn!(%error, documents, "a group is refused: writing its documents one by one");
                return None;
            }
            Err(error) => {
                report(&error, commits, std::mem::replace(&mut told, true));
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }
}

/// Tells it once, however often it is tried again.
fn report(error: &StoreError, commits: &[Commit], told: bool) {
    let documents = commits.len();
    if told {
        tracing::debug!(%error, documents, "commit failed again");
    } else {
        tracing::error!(%error, documents, "commit failed: keeping the answers and trying again");
    }
}
