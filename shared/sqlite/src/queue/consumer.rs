//! A consumer: what it holds, and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::acks::Acks;
use super::{Inner, table};

/// A consumer. When it and all its rights to acknowledge are gone, its messages go back.
pub(super) struct Consumer {
    pub(super) inner: Arc<Inner>,
    pub(super) id: i64,
    pub(super) queues: Vec<i64>,
    /// The most messages that it may hold.
    pub(super) limit: usize,
    /// Acknowledgements that are not being written yet.
    pub(super) acks: Acks,
    held: AtomicUsize,
    /// Notified when a message was acknowledged, so that there is room for another.
    freed: Notify,
    /// Whether an acknowledgement failed, so that it is unknown what it holds.
    lost: AtomicBool,
}

impl Consumer {
    pub(super) fn new(inner: Arc<Inner>, id: i64, queues: Vec<i64>, prefetch: u16) -> Self {
        Self {
            inner,
            id,
            limit: usize::from(prefetch).max(queues.len()),
            queues,
            acks: Acks::default(),
            held: AtomicUsize::new(0),
            freed: Notify::new(),
            lost: AtomicBool::new(false),
        }
    }

    /// How many more messages it may get.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.held.load(Ordering::Acquire))
    }

    /// Notes that it got messages.
    pub(super) fn hold(&self, messages: usize) {
        self.held.fetch_add(messages, Ordering::AcqRel);
    }

    /// Notes that one of its messages is acknowledged.
    pub(super) fn release_one(&self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
        self.freed.notify_one();
    }

    /// Waits until there is room again, or it is lost.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Notes that it is unknown what it holds: it has to end.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.freed.notify_one();
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let (consumer, inner) = (self.id, Arc::clone(&self.inner));
        // Without waiting: if it fails, it happens when the process ends.
        drop(self.inner.database.ask(move |connection| {
            table::leave(connection, consumer)?;
            inner.published.send_replace(());
            Ok(())
        }));
    }
}
