//! How the driver is called: in tasks of its own.
//!
//! A future of the driver that is dropped half-way can leave a connection in an unknown state
//! (RUST-937), and a commit that is dropped half-way may be half sent. Callers drop futures as they
//! like: in a `select!`, under a timeout, at shutdown. So each operation runs in a task that nobody
//! aborts, and what a caller drops is only the wait for its answer.

use std::future::Future;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

use evergrant_ports::StoreError;

/// For operations on a batch. The driver notices a silent server within its heartbeat; this is the
/// net under that.
pub(super) const SHORT_TIMEOUT: Duration = Duration::from_secs(45);
/// For operations on a whole collection.
pub(super) const LONG_TIMEOUT: Duration = Duration::from_secs(3600);
/// How far a stream reads ahead of whoever takes from it.
const READ_AHEAD: usize = 1_000;

/// Does `work` in a task of its own and waits for it, at most for `limit`.
pub(super) async fn uncancelled<T: Send + 'static>(
    operation: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let reason = match tokio::time::timeout(limit, tokio::spawn(work)).await {
        Ok(Ok(result)) => return result,
        Ok(Err(failed)) if failed.is_panic() => "an internal error, please report it".to_owned(),
        Ok(Err(_cancelled)) => "the process is shutting down".to_owned(),
        Err(_elapsed) => format!("no answer within {} s", limit.as_secs()),
    };
    Err(StoreError::Unavailable { operation, reason })
}

/// Where a stream's items go.
pub(super) struct DocumentSender<T>(mpsc::Sender<Result<T, StoreError>>);

/// Whoever takes from the stream is gone: stop.
pub(super) struct ReaderGone;

impl<T> DocumentSender<T> {
    pub(super) async fn send(&self, item: Result<T, StoreError>) -> Result<(), ReaderGone> {
        self.0.send(item).await.map_err(|_| ReaderGone)
    }
}

/// A stream of what `work`, in a task of its own, sends. The task begins when the stream is first
/// polled.
pub(super) fn streamed<T, F>(
    work: impl FnOnce(DocumentSender<T>) -> F + Send + 'static,
) -> BoxStream<'static, Result<T, StoreError>>
where
    T: Send + 'static,
    F: Future<Output = Result<(), ReaderGone>> + Send + 'static,
{
    stream::once(async move {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        tokio::spawn(work(DocumentSender(sender)));
        stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|item| (item, receiver))
        })
    })
    .flatten()
    .boxed()
}
