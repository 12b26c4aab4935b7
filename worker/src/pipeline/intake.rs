//! Deliveries into small batches.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::{DeadLetter, Job};
use evergrant_ports::{Delivery, DeliveryStream, wall_clock};
use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::lane::{Lane, PAUSE_CHECK_INTERVAL};
use crate::pipeline::claim;
use crate::pipeline::job_delivery::JobDelivery;
use crate::pipeline::settle::bury;

/// Why a consumer ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IntakeEnd {
    /// The worker is stopping.
    Stopped,
    /// The provider takes so much more by now that the consumer holds too little.
    Outgrown,
    /// The provider is shut for this long.
    Shut(Duration),
    /// The consumer is lost, after having worked or not.
    Lost {
        /// Whether it delivered anything.
        served: bool,
    },
}

/// How long a consumer is kept while its provider is shut. What it was sent is hidden from other
/// workers meanwhile, but they could not use it either; and to give it back counts as a delivery
/// of each, of which there is a limit. RabbitMQ takes a consumer for dead that holds a delivery
/// for 30 minutes.
const HOLD_MAX: Duration = Duration::from_secs(15 * 60);

/// A consumer is made anew when it should hold so many times as much: an operator has raised a limit.
const OUTGROWN: u16 = 4;

/// Takes deliveries until the consumer ends or has to. None are taken while the provider is shut for
/// long.
pub(crate) async fn drive(
    lane: &Arc<Lane>,
    mut intake: Box<dyn DeliveryStream>,
    prefetch: u16,
) -> IntakeEnd {
    let mut served = false;
    let mut shut_since = None;
    // Whether some of its queues cannot be consumed.
    let mut is_parted = false;
    let end = loop {
        if let Some(pause) = lane.long_pause() {
            let since: &mut Instant = shut_since.get_or_insert_with(Instant::now);
            if lane.stop.is_cancelled() {
                break IntakeEnd::Stopped;
            }
            if since.elapsed() >= HOLD_MAX {
                break IntakeEnd::Shut(pause);
            }
            lane.sleep(pause.min(PAUSE_CHECK_INTERVAL)).await;
            continue;
        }
        shut_since = None;
        if is_parted == intake.missing().is_empty() {
            is_parted = !is_parted;
            lane.tell_missing(&intake.missing());
        }
        if lane.prefetch() / OUTGROWN >= prefetch {
            break IntakeEnd::Outgrown;
        }
        let first = tokio::select! {
            biased;
            () = lane.stop.cancelled() => break IntakeEnd::Stopped,
            first = next_with_places(lane, &mut *intake) => first,
            () = tokio::time::sleep(PAUSE_CHECK_INTERVAL) => continue,
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

/// A delivery, and permits for it and maybe for more.
type TakenDelivery = (Delivery, OwnedSemaphorePermit);

/// Places first, then a delivery: nothing is taken that could not be claimed. Dropping this before it
/// ends loses neither.
async fn next_with_places(lane: &Lane, intake: &mut dyn DeliveryStream) -> Option<TakenDelivery> {
    let ahead = &lane.flow.ahead;
    let enough = u32::from(ahead.enough(lane.settings.batch));
    let flow_permits = ahead.semaphore().acquire_many_owned(enough).await.ok()?;
    Some((intake.next().await?, flow_permits))
}

/// What is there already, up to a batch.
fn fill_batch(
    lane: &Lane,
    intake: &mut dyn DeliveryStream,
    (first, mut flow_permits): TakenDelivery,
) -> Vec<TakenDelivery> {
    let mut others = flow_permits.split(flow_permits.num_permits().saturating_sub(1));
    let mut batch = vec![(first, flow_permits)];
    while batch.len() < usize::from(lane.settings.batch) {
        let held = others.as_mut().and_then(|others| others.split(1));
        let free = || lane.flow.ahead.semaphore().try_acquire_owned().ok();
        let Some(flow_permit) = held.or_else(free) else { break };
        let Some(Some(delivery)) = intake.next().now_or_never() else { break };
        batch.push((delivery, flow_permit));
    }
    batch
}

/// The job of a delivery. What is no job goes to the dead letters.
fn decode(lane: &Arc<Lane>, (delivery, flow_permit): TakenDelivery) -> Option<JobDelivery> {
    match Job::decode_from(&lane.provider.id, &delivery.body) {
        Ok(job) => Some(JobDelivery {
            job,
            acker: delivery.acker,
            redelivered: delivery.redelivered,
            flow_permit: Some(flow_permit),
        }),
        Err(error) => {
            tracing::warn!(provider = %lane.provider.id, %error, "a message is not a job");
            let letter = DeadLetter::of_message(
                delivery.body,
                lane.provider.id.clone(),
                &error,
                wall_clock(),
                &lane.name,
            );
            lane.metrics.count_dead(&lane.provider.id, letter.reason);
            let (lane, acker) = (Arc::clone(lane), delivery.acker);
            lane.clone().jobs.spawn(async move { bury(&lane, &letter, acker).await });
            None
        }
    }
}
