//! Group commit: outcomes that arrive while one group is being written form the next one, so a
//! group waits for nothing and grows with the load.

use std::sync::Arc;
use std::time::Duration;

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
        for (reply, committed) in replies.into_iter().zip(write(&*store, &commits).await) {
            // The receiver is gone only when the process is ending.
            let _ = reply.send(committed);
        }
    }
}

/// Writes until it is written.
async fn write(store: &dyn TokenStore, commits: &[Commit]) -> Vec<Committed> {
    let mut backoff = Backoff::for_a_server();
    loop {
        match store.commit(commits).await {
            Ok(committed) => return committed,
            Err(error @ StoreError::Refused { .. }) if commits.len() > 1 => {
                tracing::warn!(%error, "a group is refused: writing its documents one by one");
                return one_by_one(store, commits).await;
            }
            Err(error) => {
                let wait = backoff.next_wait();
                report(&error, commits, wait);
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// A document that the store refuses must not keep the others from being written.
async fn one_by_one(store: &dyn TokenStore, commits: &[Commit]) -> Vec<Committed> {
    let each = commits.iter().map(|commit| write(store, std::slice::from_ref(commit)));
    futures::future::join_all(each).await.into_iter().flatten().collect()
}

fn report(error: &StoreError, commits: &[Commit], wait: Duration) {
    let documents = commits.len();
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    tracing::error!(%error, documents, wait_ms, "commit failed: keeping the answers and trying again");
}
