//! Changes of a provider's shared state by operators (optimistic concurrency).

use std::time::Duration;

use evergrant_domain::{ProviderId, ProviderState, Timestamp};
use evergrant_ports::Backoff;
use evergrant_ports::{ProviderStates, StoreError};

/// Many, because each replica also writes a few times a second.
const TRIES: u32 = 100;

/// Changes the state of a provider that all replicas share. `change` gets the store's time, and may
/// be called several times. Replicas act on the change within half a second. Returns the new state.
///
/// # Errors
/// If the store fails, or others change the state all the time.
pub async fn change_provider(
    store: &dyn ProviderStates,
    provider: &ProviderId,
    change: impl Fn(&mut ProviderState, Timestamp),
) -> Result<ProviderState, StoreError> {
    let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(50));
    for _ in 0..TRIES {
        let read = store.provider_state(provider).await?;
        let mut state = read.value.clone();
        change(&mut state, read.now);
        if state == read.value || store.set_provider_state(provider, read.version, &state).await? {
            return Ok(state);
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
    Err(StoreError::Unavailable {
        operation: "set_provider_state",
        reason: "it is changed too often by others: try again".to_owned(),
    })
}
