//! Revives grants whose deaths are no longer believed.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::Timestamp;
use evergrant_domain::weigh::DeathBelief;

use crate::lane::Lane;

/// Repeated, because a death that another worker has just decided is written a little later.
const AFTER: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];

/// Makes active again, in the background, the grants that ended as dead since then.
pub(crate) fn revive_deaths(lane: &Lane, since: Timestamp) {
    let (store, provider) = (Arc::clone(&lane.store), lane.provider.id.clone());
    let (budget, stop) = (Arc::clone(&lane.budget), lane.stop.clone());
    lane.jobs.spawn(async move {
        for wait in AFTER {
            // A stopping worker does not wait, but it still tries.
            let stopping = stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none();
            if budget.evidence().belief == DeathBelief::Trust {
                // An operator has confirmed the deaths meanwhile.
                return;
            }
            match store.revive_dead(&provider, since).await {
                Ok(0) => {}
                Ok(grants) => {
                    tracing::warn!(%provider, grants, "the provider's reports of dead grants are not believed: the grants are active again");
                }
                Err(error) => tracing::error!(%provider, %error, %since,
                    "grants that ended by mistake could not be revived; unless a later try \
                     succeeds, run: evergrant dlq redrive --provider {provider} --since {since}"),
            }
            if stopping {
                return;
            }
        }
    });
}
