//! Keeping a lease while something takes long.

use std::pin::pin;

use evergrant_shared::domain::DocumentId;
use tokio::time::Instant;

use crate::lane::Lane;
use crate::work::Claim;

/// Waits for `work` and prolongs the lease of `id` whenever half of it is over. A lease that cannot
/// be prolonged is no reason to stop: a commit is conditional on the token that was sent.
pub(crate) async fn keep<T>(
    lane: &Lane,
    id: &DocumentId,
    claim: &Claim,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    let mut half_over = claim.sent_at + lane.settings.lease / 2;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep_until(half_over) => {}
        }
        half_over = Instant::now() + lane.settings.lease / 2;
        let renewing =
            lane.store.renew(std::slice::from_ref(id), &claim.owner, lane.settings.lease);
        tokio::select! {
            biased;
            done = &mut work => return done,
            renewed = renewing => {
                if let Err(error) = renewed {
                    tracing::warn!(%id, %error, "a lease was not prolonged: it may run out");
                }
            }
        }
    }
}
