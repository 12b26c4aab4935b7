//! Turns a stream of deliveries into batches of jobs.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::{DeadLetter, Job};
use evergrant_ports::{Delivery, DeliveryStream, wall_clock};
use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::{Instrument, error_span};

use crate::lane::{Lane, PAUSE_CHECK_INTERVAL};
use crate::pipeline::claim;
use crate::pipeline::job_delivery::JobDelivery;
use crate::pipeline::settle::bury;

/// Why a consumer ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IntakeEnd {
    /// The worker is stopping.
    Stopped,
    /// The rate has grown so much that the consumer's prefetch is too small.
    Outgrown,
    /// The provider is paused or stopped for this long.
    Shut(Duration),
    /// The consumer is lost.
    Lost {
        /// Whether it delivered anything.
        served: bool,
    },
}

/// How long a consumer is kept while its provider is paused. Its deliveries are hidden from other
/// workers, which could not use them either; returning them would count as a delivery of each, and
/// that number is limited. RabbitMQ closes a consumer that holds a delivery for 30 minutes.
const HOLD_MAX: Duration = Duration::from_secs(15 * 60);

/// A consumer is rebuilt when its prefetch should grow by this factor, because an operator has
/// raised a limit.
const OUTGROWN: u16 = 4;

/// Takes deliveries until the consumer ends or must be replaced. None are taken during a long pause
/// of the provider.
pub(crate) async fn drive(
    lane: &Arc<Lane>,
    mut intake: Box<dyn DeliveryStream>,
    prefetch: u16,
) -> IntakeEnd {
    let mut served = false;
    let mut shut_since = None;
    // Whether some of the provider's queues cannot be consumed.
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

/// A delivery, with at least one flow permit.
type TakenDelivery = (Delivery, OwnedSemaphorePermit);

/// Takes permits first, then a delivery, so that every delivery can be claimed at once.
/// Cancel-safe: dropping this future loses neither.
async fn next_with_places(lane: &Lane, intake: &mut dyn DeliveryStream) -> Option<TakenDelivery> {
    let ahead = &lane.flow.ahead;
    let enough = u32::from(ahead.enough(lane.settings.batch));
    let flow_permits = ahead.semaphore().acquire_many_owned(enough).await.ok()?;
    Some((intake.next().await?, flow_permits))
}

/// Adds deliveries that have already arrived, up to a batch.
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

/// The job of a delivery. A message that is not a job becomes a dead letter.
fn decode(lane: &Arc<Lane>, (delivery, flow_permit): TakenDelivery) -> Option<JobDelivery> {
    match Job::decode_from(&lane.provider.id, &delivery.body) {
        Ok(job) => Some(JobDelivery {
            job,
            acker: delivery.acker,
            redelivered: delivery.redelivered,
            on_demand: false,
            flow_permit: Some(flow_permit),
        }),
        Err(error) => {
            let span = error_span!("job", provider = %lane.provider.id);
            span.in_scope(
                || tracing::warn!(%error, "a message is not a job: it becomes a dead letter"),
            );
            let letter = DeadLetter::of_message(
                delivery.body,
                lane.provider.id.clone(),
                &error,
                wall_clock(),
                &lane.name,
            );
            lane.metrics.count_dead(&lane.provider.id, letter.reason);
            let (lane, jobs, acker) = (Arc::clone(lane), &lane.jobs, delivery.acker);
            let burying = async move { bury(&lane, &letter, acker).await };
            jobs.spawn(burying.instrument(span));
            None
        }
    }
}
