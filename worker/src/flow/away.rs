//! Waiting for a store that is unavailable.

use evergrant_ports::Backoff;
use evergrant_ports::StoreClock;
use tokio_util::sync::CancellationToken;

/// Waits until the store answers or the worker stops.
pub(crate) async fn until_it_answers(store: &dyn StoreClock, stop: &CancellationToken) {
    let answers = async {
        let mut backoff = Backoff::for_an_answer();
        while store.now().await.is_err() {
            tokio::time::sleep(backoff.next_wait()).await;
        }
    };
    stop.run_until_cancelled(answers).await;
}
