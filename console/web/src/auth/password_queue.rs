//! The queue before the hashing of passwords, which takes 19 MiB and a core each time. Few wait in it, and
//! not for long, so that many who guess make nobody else wait.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::users::{self, ConsoleUser};

/// Passwords that are hashed at once.
const HASHES_MAX: usize = 2;
/// Passwords in the queue.
const PLACES_MAX: usize = 32;
/// Of those, what browsers may take that nobody has logged in with before.
const STRANGERS_MAX: usize = 16;
/// How long one waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// No place is free, or the turn did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

impl QueueFull {
    /// When it is worth to try again.
    pub(super) const RETRY_AFTER: Duration = TURN_TIMEOUT;
}

/// The queue.
pub(crate) struct PasswordQueue {
    hashes: Arc<Semaphore>,
    places: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl PasswordQueue {
    pub(super) fn new() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            hashes: semaphore(HASHES_MAX),
            places: semaphore(PLACES_MAX),
            strangers: semaphore(STRANGERS_MAX),
        }
    }

    /// Whether a password is that of a user; `known` if it comes from a browser that the user has logged
    /// in with before.
    pub(super) async fn is_right(
        &self,
        user: Option<ConsoleUser>,
        password: SecretString,
        known: bool,
    ) -> Result<bool, QueueFull> {
        let turn = self.turn(known).await?;
        let hashing = tokio::task::spawn_blocking(move || {
            // Held until it is done: who hangs up meanwhile makes no room for another.
            let _turn = turn;
            users::is_right(user.as_ref(), &password)
        });
        Ok(hashing.await.unwrap_or(false))
    }

    async fn turn(&self, known: bool) -> Result<[Option<OwnedSemaphorePermit>; 3], QueueFull> {
        let take =
            |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().map_err(|_| QueueFull);
        let stranger = if known { None } else { Some(take(&self.strangers)?) };
        let place = take(&self.places)?;
        let turn = Arc::clone(&self.hashes).acquire_owned();
        match tokio::time::timeout(TURN_TIMEOUT, turn).await {
            Ok(Ok(turn)) => Ok([stranger, Some(place), Some(turn)]),
            Ok(Err(_)) | Err(_) => Err(QueueFull),
        }
    }

    /// Takes what strangers may have, for as long as the result is kept.
    #[cfg(test)]
    pub(crate) fn fill(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(STRANGERS_MAX).unwrap();
        Arc::clone(&self.strangers).try_acquire_many_owned(all).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn strangers_wait_in_a_short_queue_and_not_for_long() {
        let queue = PasswordQueue::new();
        let _running = [queue.turn(false).await.unwrap(), queue.turn(false).await.unwrap()];
        let began = tokio::time::Instant::now();
        let waiting = join_all((2..STRANGERS_MAX).map(|_| queue.turn(false)));
        let one_too_many = async { assert_eq!(queue.turn(false).await.err(), Some(QueueFull)) };
        let (waited, ()) = tokio::join!(waiting, one_too_many);
        assert!(waited.iter().all(Result::is_err));
        assert_eq!(began.elapsed(), TURN_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_leave_room_for_whom_we_know() {
        let queue = PasswordQueue::new();
        let mut running: Vec<_> =
            join_all([queue.turn(false), queue.turn(false)]).await.into_iter().collect();
        let turn_over = |_| async { drop(queue.turn(false).await) };
        let strangers = join_all((2..STRANGERS_MAX).map(turn_over));
        let known = async {
            assert!(queue.turn(false).await.is_err());
            let turn = queue.turn(true);
            running.clear();
            turn.await.is_ok()
        };
        assert!(tokio::join!(strangers, known).1);
    }

    #[tokio::test]
    async fn who_hangs_up_makes_no_room_before_the_hash_is_done() {
        let queue = PasswordQueue::new();
        let password = SecretString::from("whatever it is");
        let hashing = queue.is_right(None, password, false);
        // It has begun, and its client is gone.
        assert!(tokio::time::timeout(Duration::ZERO, hashing).await.is_err());
        assert_eq!(queue.hashes.available_permits(), HASHES_MAX - 1);
    }
}
