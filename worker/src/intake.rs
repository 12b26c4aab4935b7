//! Deliveries into small batches.

use std::sync::Arc;
use std::time::Duration;

use evergrant_shared::domain::{DeadLetter, Job, Timestamp};
use evergrant_shared::ports::{Delivery, Intake};
use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;

use crate::claim;
use crate::lane::{Lane, PAUSE_CHECK};
use crate::settle::bury;
use crate::work::Work;

/// Why a consumer ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IntakeEnd {
    /// The worker is stopping.
    Stopped,
    /// The provider is shut for this long.
    Shut(Duration),
    /// The consumer is lost, after having worked or not.
    Lost {
        /// Whether it delivered anything.
        served: bool,
    },
}

/// Takes deliveries until the consumer ends or has to.
pub(crate) async fn drive(lane: &Arc<Lane>, mut intake: Box<dyn Intake>) -> IntakeEnd {
    let mut served = false;
    let end = loop {
        if let Some(pause) = lane.long_pause() {
            break IntakeEnd::Shut(pause);
        }
        let first = tokio::select! {
            biased;
            () = lane.stop.cancelled() => break IntakeEnd::Stopped,
            first = next_with_place(lane, &mut *intake) => first,
            () = tokio::time::sleep(PAUSE_CHECK) => continue,
        };
        let Some(first) = first else { break IntakeEnd::Lost { served } };
        served = true;
        let batch = fill_batch(lane, &mut *intake, first);
        let work = batch.into_iter().filter_map(|taken| decode(lane, taken)).collect();
        claim::claim(lane, work).await;
    };
    intake.stop().await;
    end
}

type Taken = (Delivery, OwnedSemaphorePermit);

/// A place first, then a delivery: nothing is taken that could not be claimed. Dropping this before
/// it ends loses neither.
async fn next_with_place(lane: &Lane, intake: &mut dyn Intake) -> Option<Taken> {
    let place = Arc::clone(&lane.ahead).acquire_owned().await.ok()?;
    Some((intake.next().await?, place))
}

/// What is there already, up to a batch.
fn fill_batch(lane: &Lane, intake: &mut dyn Intake, first: Taken) -> Vec<Taken> {
    let mut batch = vec![first];
    while batch.len() < usize::from(lane.settings.batch) {
        let Ok(place) = Arc::clone(&lane.ahead).try_acquire_owned() else { break };
        let Some(Some(delivery)) = intake.next().now_or_never() else { break };
        batch.push((delivery, place));
    }
    batch
}

/// The job of a delivery. What is no job goes to the dead letters.
fn decode(lane: &Arc<Lane>, (delivery, place): Taken) -> Option<Work> {
    match Job::decode_from(&lane.provider.id, &delivery.body) {
        Ok(job) => Some(Work {
            job,
            acker: delivery.acker,
            redelivered: delivery.redelivered,
            place: Some(place),
        }),
        Err(error) => {
            tracing::warn!(provider = %lane.provider.id, %error, "a message is not a job");
            let letter = DeadLetter::of_message(
                delivery.body,
                lane.provider.id.clone(),
                &error,
                Timestamp::of_this_machine(),
                &lane.settings.name,
            );
            let (lane, acker) = (Arc::clone(lane), delivery.acker);
            lane.clone().jobs.spawn(async move { bury(&lane, &letter, acker).await });
            None
        }
    }
}
