//! The browse lock: one browse of a dead queue at a time. Two at once would each get a part of the
//! letters, so one of them might find nothing, and the letters would go back in another order.
//!
//! The lock is an exclusive queue beside the dead one. The broker grants it to one connection, and
//! removes it with the connection, however a process ends. Browses on the same connection are
//! serialized by a mutex.

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::errors::is_locked;
use super::names::{browse_lock_name, short};
use super::session::Session;

/// How long to wait for other browses. Taking 100,000 letters and returning them is a matter of
/// seconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is tried.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// After this time the broker removes the lock, both from a process that forgot it and from a slow
/// browse.
const LOCK_TTL_MS: i32 = 120_000;

/// Serializes the browses of this process. Cheap to clone.
pub(super) type BrowseMutex = Arc<Mutex<()>>;

/// The lock, until this is dropped. None inside if it could not be acquired.
pub(super) struct BrowseLock(Option<LockQueue>);

struct LockQueue {
    session: Arc<Session>,
    channel: Channel,
    name: ShortString,
    browse_mutex: OwnedMutexGuard<()>,
}

impl BrowseLock {
    /// Waits until nobody else browses `queue`. If that takes too long, or this user may not
    /// declare queues, the browse proceeds without the lock and sees what is left to see.
    pub(super) async fn wait(
        session: &Arc<Session>,
        browse_mutex: &BrowseMutex,
        queue: &str,
    ) -> Self {
        let waited = tokio::time::timeout(LOCK_TIMEOUT, hold(session, browse_mutex, queue)).await;
        if waited.is_err() {
            tracing::warn!(
                queue,
                "another browse takes long: its dead letters are not listed now; repeat the command later"
            );
        }
        Self(waited.ok().flatten())
    }
}

async fn hold(
    session: &Arc<Session>,
    browse_mutex: &BrowseMutex,
    queue: &str,
) -> Option<LockQueue> {
    const OPERATION: &str = "look alone";
    let browse_mutex = Arc::clone(browse_mutex).lock_owned().await;
    let name = short(OPERATION, &browse_lock_name(queue)).ok()?;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    loop {
        // A refusal closes the channel.
        let channel = session.channel(OPERATION).await.ok()?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(LOCK_TTL_MS));
        let declared = session
            .wait(OPERATION, channel.queue_declare(name.clone(), options, arguments))
            .await
            .ok()?;
        match declared {
            Ok(_) => {
                return Some(LockQueue {
                    session: Arc::clone(session),
                    channel,
                    name,
                    browse_mutex,
                });
            }
            Err(error) if is_locked(&error) => tokio::time::sleep(LOCK_RETRY_INTERVAL).await,
            Err(error) => {
                tracing::debug!(%error, queue, "browsing without the lock");
                return None;
            }
        }
    }
}

impl LockQueue {
    async fn give_back(self) {
        let deleting = self.channel.queue_delete(self.name, QueueDeleteOptions::default());
        if let Err(error) = self.session.wait("end a look", deleting).await {
            tracing::debug!(%error, "the browse lock was not released: it ends with the connection");
        }
        // The next browse of this process would otherwise get what is about to be deleted.
        drop(self.browse_mutex);
    }
}

impl Drop for BrowseLock {
    fn drop(&mut self) {
        if let Some(held) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(held.give_back());
        }
    }
}
