//! The browse lock: one browse of a dead queue at a time: of two at once each would be given a part, so one of them might
//! find nothing, and what they hold would go back in another order.
//!
//! The right to browse is an exclusive queue beside the dead one. The broker gives that to one connection,
//! and takes it away with the connection, however a process ends. Browses of one connection take turns by a
//! lock of their process.

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::errors::is_locked;
use super::names::{browse_lock_name, short};
use super::session::Session;

/// How long others are waited for. To take 100,000 letters and give them back is a matter of seconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is tried.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// After this the broker takes the right away, from a process that lives and has forgotten it as well
/// as from a browse that takes longer.
const LOCK_TTL_MS: i32 = 120_000;

/// Who browses in this process. Cheap to clone.
pub(super) type BrowseMutex = Arc<Mutex<()>>;

/// The right to be the only one who browses, until this is dropped. None in it if it was not to be had.
pub(super) struct BrowseLock(Option<LockQueue>);

struct LockQueue {
    session: Arc<Session>,
    channel: Channel,
    name: ShortString,
    browse_mutex: OwnedMutexGuard<()>,
}

impl BrowseLock {
    /// Waits until nobody else browses `queue`. If that takes too long, or this user may declare no
    /// queue, the browse goes on all the same: it sees what there is to see.
    pub(super) async fn wait(
        session: &Arc<Session>,
        browse_mutex: &BrowseMutex,
        queue: &str,
    ) -> Self {
        let waited = tokio::time::timeout(LOCK_TIMEOUT, hold(session, browse_mutex, queue)).await;
        if waited.is_err() {
            tracing::warn!(
                queue,
                "another look takes long: what it has in hand is not seen, so look again later"
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
                tracing::debug!(%error, queue, "looking beside others");
                return None;
            }
        }
    }
}

impl LockQueue {
    async fn give_back(self) {
        let deleting = self.channel.queue_delete(self.name, QueueDeleteOptions::default());
        if let Err(error) = self.session.wait("end a look", deleting).await {
            tracing::debug!(%error, "the right to look ends with the connection");
        }
        // The next browse of this process would be given what is about to be deleted.
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
