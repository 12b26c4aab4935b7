//! Group commit: outcomes that arrive while a group is being written form the next one, so groups
//! grow with the load. A second group is written beside it only if it is full: that makes a worker
//! faster that is alone or far from the store, and each command costs the store something.

use std::sync::Arc;

use evergrant_shared::backoff::Backoff;
use evergrant_shared::ports::{Commit, Committed, StoreError, TokenStore};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Writes outcomes in groups. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Committer {
    groups: mpsc::Sender<Request>,
}

struct Request {
    commit: Commit,
    reply: oneshot::Sender<Committed>,
}

/// Groups that are written at once, so that one forms while the others are on the wire.
const WRITERS: usize = 2;

impl Committer {
    /// Starts writing to `store`, at most `batch` documents in a group, and counts the groups in
    /// `written`. It ends when the last clone is gone and everything is written.
    pub(crate) fn start(store: Arc<dyn TokenStore>, batch: usize, written: &Counter) -> Self {
        let (groups, requests) = mpsc::channel(batch.saturating_mul(WRITERS));
        tokio::spawn(write_groups(store, requests, batch, written.clone()));
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
    mut requests: mpsc::Receiver<Request>,
    batch: usize,
    written: Counter,
) {
    let (mut group, mut writing) = (Vec::with_capacity(batch), JoinSet::new());
    let mut more_may_come = true;
    while more_may_come || !group.is_empty() || !writing.is_empty() {
        let room = batch - group.len();
        tokio::select! {
            biased;
            Some(_) = writing.join_next() => {}
            count = requests.recv_many(&mut group, room), if more_may_come && room > 0 => {
                more_may_come = count > 0;
            }
        }
        if begins(group.len(), batch, writing.len()) {
            let group = std::mem::replace(&mut group, Vec::with_capacity(batch));
            writing.spawn(write_group(Arc::clone(&store), group, written.clone()));
        }
    }
}

/// Whether a group of so many, at most `batch`, is written now, beside so many others.
fn begins(waiting: usize, batch: usize, writing: usize) -> bool {
    match writing {
        0 => waiting > 0,
        _ => waiting == batch && writing < WRITERS,
    }
}

async fn write_group(store: Arc<dyn TokenStore>, group: Vec<Request>, written: Counter) {
    let (commits, replies): (Vec<_>, Vec<_>) =
        group.into_iter().map(|request| (request.commit, request.reply)).unzip();
    match write(&*store, &commits, While::Unavailable).await {
        Some(results) => {
            written.inc();
            reply_all(replies, results);
        }
        None => write_one_by_one(&store, commits, replies),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_written_beside_another_only_if_it_is_full() {
        assert!(begins(1, 64, 0));
        assert!(!begins(0, 64, 0));
        assert!(!begins(63, 64, 1));
        assert!(begins(64, 64, 1));
        assert!(!begins(64, 64, WRITERS));
    }
}
