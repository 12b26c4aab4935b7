//! Deliveries on their way to a process.

use std::sync::Arc;

use async_trait::async_trait;
use evergrant_domain::SealedAnswer;
use evergrant_ports::{Delivery, DeliveryAcker, DeliveryStream, QueueError};
use tokio_util::sync::CancellationToken;

use super::process::Process;
use super::settled::DeliveryFacts;
use super::{Fault, Sabotage};

/// A process's consumer, which can be lost.
pub(crate) struct FaultyIntake {
    process: Arc<Process>,
    /// None once it is lost.
    intake: Option<Box<dyn DeliveryStream>>,
    lost: CancellationToken,
}

impl FaultyIntake {
    pub(crate) fn new(process: &Arc<Process>, intake: Box<dyn DeliveryStream>) -> Self {
        let lost = process.consumers();
        Self { process: Arc::clone(process), intake: Some(intake), lost }
    }
}

#[async_trait]
impl DeliveryStream for FaultyIntake {
    async fn next(&mut self) -> Option<Delivery> {
        self.process.live().await;
        let (process, world) = (&self.process, &self.process.world);
        let delivery = tokio::select! {
            biased;
            () = self.lost.cancelled() => None,
            delivery = self.intake.as_mut()?.next() => delivery,
        };
        if process.is_dead() {
            std::future::pending::<()>().await;
        }
        let Some(delivery) = delivery else {
            self.intake = None;
            return None;
        };
        if world.chance(world.plan.rates.consumer_lost) {
            world.note(|| format!("{}: its consumer is lost", process.name));
            world.reached(Fault::ConsumerLost);
            process.lose_consumers();
            self.intake = None;
            return None;
        }
        Some(handed_out(process, delivery).await)
    }

    async fn stop(&mut self) {
        self.process.live().await;
        if let Some(intake) = &mut self.intake {
            intake.stop().await;
        }
        self.process.live().await;
    }
}

async fn handed_out(process: &Arc<Process>, delivery: Delivery) -> Delivery {
    let world = &process.world;
    let mut acker = FaultyAcker {
        process: Arc::clone(process),
        delivered: world.delivered(&delivery.body),
        rescued: SealedAnswer::decode(&delivery.body).ok(),
        acker: Some(delivery.acker),
    };
    let token = acker.rescued.as_ref().and_then(|answer| world.sealed_token(&answer.encode()));
    if let Some(token) = token {
        world.rescue_delivered(&process.name, token);
    }
    if let Some(answer) = &acker.rescued
        && super::supervisor::sealer(process).open(answer).is_err()
    {
        world.reached(Fault::ForeignAnswer);
    }
    world.note(|| match &acker.delivered {
        Some(delivered) => format!(
            "{}: gets a job of {}{}",
            process.name,
            delivered.job.id,
            if delivery.redelivered { " again" } else { "" }
        ),
        None => format!("{}: gets an answer to rescue", process.name),
    });
    let sabotage = match &acker.rescued {
        Some(_) => Sabotage::RescueAckedBeforeWritten,
        None => Sabotage::AckBeforeCommit,
    };
    if world.is_broken_by(sabotage) {
        // It answers at once, and cannot fail while the consumer exists.
        let _ = acker.acknowledge().await;
    }
    Delivery { acker: Box::new(acker), ..delivery }
}

/// The rescue queue in a broken build that never reads it.
pub(crate) struct IgnoredRescues;

#[async_trait]
impl DeliveryStream for IgnoredRescues {
    async fn next(&mut self) -> Option<Delivery> {
        std::future::pending().await
    }

    async fn stop(&mut self) {}
}

impl Drop for FaultyIntake {
    /// The broker may notice a dead process late.
    fn drop(&mut self) {
        if let Some(intake) = self.intake.take()
            && self.process.is_dead()
        {
            let wait = self.process.noticed_after;
            self.process.world.runtime.spawn(async move {
                tokio::time::sleep(wait).await;
                drop(intake);
            });
        }
    }
}

struct FaultyAcker {
    process: Arc<Process>,
    /// The facts at its delivery, if it is a job.
    delivered: Option<DeliveryFacts>,
    /// The answer, if it is a rescued one.
    rescued: Option<SealedAnswer>,
    acker: Option<Box<dyn DeliveryAcker>>,
}

impl FaultyAcker {
    async fn acknowledge(&mut self) -> Result<(), QueueError> {
        let world = &self.process.world;
        let Some(acker) = self.acker.take() else { return Ok(()) };
        acker.ack().await?;
        if let Some(delivered) = &self.delivered {
            world.note(|| {
                format!("{}: acknowledges a job of {}", self.process.name, delivered.job.id)
            });
            world.acknowledged(&self.process.name, delivered);
        }
        if let Some(answer) = &self.rescued
            && let Some(token) = world.sealed_token(&answer.encode())
        {
            world.with(|state| state.tokens.rescued.remove(&token));
        }
        world.check_answers();
        Ok(())
    }
}

#[async_trait]
impl DeliveryAcker for FaultyAcker {
    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        let process = Arc::clone(&self.process);
        let world = &process.world;
        let rates = &world.plan.rates;
        process.live().await;
        if world.chance(rates.crash) {
            if world.below(2) == 0 {
                let _ = self.acknowledge().await;
            }
            process.crash();
        }
        process.live().await;
        if world.chance(rates.ack_lost) || !process.reaches_broker() {
            world.note(|| format!("{}: an acknowledgement is lost", process.name));
            world.reached(Fault::AckLost);
            // A channel that loses an acknowledgement is closed, with all its consumers.
            process.lose_consumers();
            let reason = "the channel is closed".to_owned();
            return Err(QueueError::Unavailable { operation: "ack", reason });
        }
        let acknowledged = self.acknowledge().await;
        process.live().await;
        acknowledged
    }
}
