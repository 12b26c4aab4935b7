//! The sweep: finds ended grants whose users have signed in again, and makes them active.
//!
//! It reads the documents in parts and runs beside the passes, so a million dead grants delay no
//! job. After an error it continues where it stopped.

use std::time::Duration;

use evergrant_ports::Backoff;
use evergrant_ports::{DueStore, StoreError};
use tokio::time::{Instant, MissedTickBehavior};

use crate::ProducerDeps;
use crate::standing::ProducerStanding;

/// Documents that one part reads.
const PART: u32 = 2_000;
/// The sweep rests after each part, for this multiple of the part's duration.
const REST: u32 = 3;

/// Sweeps once through all documents. Returns the number of revived grants.
pub(crate) async fn sweep_whole(store: &dyn DueStore) -> Result<u64, StoreError> {
    let (mut revived, mut place) = (0, None);
    loop {
        let part = store.revive_signed_in(place, PART).await?;
        revived += part.revived;
        place = part.next;
        if place.is_none() {
            return Ok(revived);
        }
    }
}

/// Sweeps repeatedly, without end.
pub(crate) async fn keep_sweeping(deps: &ProducerDeps, standing: &ProducerStanding<'_>) {
    let mut ticks = tokio::time::interval(deps.settings.sweep_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut place = None;
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            let began_at = Instant::now();
            let part = deps.store.revive_signed_in(place.clone(), PART).await;
            standing.swept(&part);
            match part {
                Ok(part) if part.next.is_none() => break,
                Ok(part) => {
                    place = part.next;
                    backoff.reset();
                    tokio::time::sleep(began_at.elapsed() * REST).await;
                }
                Err(_) => tokio::time::sleep(backoff.next_wait()).await,
            }
        }
    }
}
