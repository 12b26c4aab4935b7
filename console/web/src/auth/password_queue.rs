//! Limits concurrent password hashing, which takes 19 MiB and a core each time. The queue is short
//! and the wait limited, so that many guesses delay nobody else.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::users::{self, ConsoleUser};

/// Passwords that are hashed concurrently.
const HASHES_MAX: usize = 2;
/// Passwords in the queue.
const PLACES_MAX: usize = 32;
/// The part of the queue for browsers with which nobody has logged in before.
const STRANGERS_MAX: usize = 16;
/// How long a password waits.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// The queue is full, or the wait was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

impl QueueFull {
    /// When another try is reasonable.
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

    /// Whether a password is that of a user; `known` if it comes from a browser with which the user
    /// has logged in before.
    pub(super) async fn is_right(
        &self,
        user: Option<ConsoleUser>,
        password: SecretString,
        known: bool,
    ) -> Result<bool, QueueFull> {
        let turn = self.turn(known).await?;
        let hashing = tokio::task::spawn_blocking(move || {
            // Held until the hashing ends: a client that disconnects makes no room for another.
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

    /// Occupies the part for unknown browsers, as long as the result is kept.
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
    async fn unknown_browsers_wait_in_a_short_queue() {
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
    async fn unknown_browsers_leave_room_for_known_ones() {
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
    async fn a_disconnected_client_keeps_its_place_until_hashed() {
        let queue = PasswordQueue::new();
        let password = SecretString::from("whatever it is");
        let hashing = queue.is_right(None, password, false);
        // It has begun, and its client is gone.
        assert!(tokio::time::timeout(Duration::ZERO, hashing).await.is_err());
        assert_eq!(queue.hashes.available_permits(), HASHES_MAX - 1);
    }
}
