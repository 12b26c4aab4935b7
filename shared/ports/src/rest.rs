//! A cooldown after a slow search for new documents, because each search reads all documents that
//! are not adopted.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A search faster than this needs no cooldown.
const QUICK_SEARCH_MAX: Duration = Duration::from_millis(200);
/// The cooldown, as a multiple of the search's duration.
const TIMES: u32 = 10;

/// When the next search may begin.
#[derive(Debug, Default)]
pub struct SearchCooldown(Mutex<Option<Instant>>);

impl SearchCooldown {
    /// Whether a search may begin.
    pub fn is_over(&self) -> bool {
        self.until().is_none_or(|until| Instant::now() >= until)
    }

    /// Starts the cooldown after a search that found nothing.
    pub fn begin(&self, search: Duration) {
        let until = (search > QUICK_SEARCH_MAX).then(|| Instant::now() + search * TIMES);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn until(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_search_is_followed_by_a_cooldown() {
        let rest = SearchCooldown::default();
        assert!(rest.is_over());
        rest.begin(Duration::from_secs(2));
        assert!(!rest.is_over());
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(rest.is_over());
        rest.begin(Duration::from_millis(10));
        assert!(rest.is_over());
    }
}
