//! The sweep: finds grants that have ended and live again, since their user has signed in.
//!
//! It reads a part at a time beside the passes, so that a million dead grants hold up no job, and after an
//! error it goes on where it was.

use std::time::Duration;

use evergrant_ports::Backoff;
use evergrant_ports::{DueStore, StoreError};
use tokio::time::{Instant, MissedTickBehavior};

use crate::ProducerDeps;
use crate::standing::ProducerStanding;

/// Documents that are looked at in one part.
const PART: u32 = 2_000;
/// So many times as long as a part took the sweep rests after it.
const REST: u32 = 3;

/// Sweeps once, from the beginning to the end. Returns how many grants live again.
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

/// Sweeps again and again, for ever.
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
