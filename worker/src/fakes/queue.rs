//! A fake queue, and deliveries that record whether they were acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use evergrant_domain::{DeadLetter, Job, ProviderId, SealedAnswer};
use evergrant_ports::*;

/// Takes retries after the first few fail.
#[derive(Default)]
pub(crate) struct FakeQueue {
    pub(crate) failures: AtomicU32,
    /// A rung that accepts no job.
    pub(crate) broken_rung: Option<Duration>,
    pub(crate) retried: AtomicU32,
    /// Whether it leaves rescued answers unconfirmed.
    pub(crate) confirms_no_rescue: AtomicBool,
    /// Rescued answers that no consumer holds.
    pub(crate) rescued: Arc<Mutex<Vec<SealedAnswer>>>,
    pub(crate) buried: Mutex<Vec<DeadLetter>>,
}

#[async_trait]
impl WorkQueue for FakeQueue {
    async fn consume(
        &self,
        _: &ProviderId,
        _: Option<&[u16]>,
        _: u16,
    ) -> Result<Box<dyn DeliveryStream>, QueueError> {
        Ok(Box::new(FakeIntake(Arc::default())))
    }

    async fn retry(&self, _job: &Job, delay: Duration) -> Result<(), QueueError> {
        if Some(delay) == self.broken_rung {
            return Err(QueueError::Unconfirmed { operation: "retry", reason: "stuck".to_owned() });
        }
        let left = self.failures.load(Ordering::Relaxed);
        if left > 0 {
            self.failures.store(left - 1, Ordering::Relaxed);
            let reason = "an alarm".to_owned();
            return Err(QueueError::Unavailable { operation: "retry", reason });
        }
        self.retried.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn bury(&self, letter: &DeadLetter) -> Result<(), QueueError> {
        self.buried.lock().unwrap().push(letter.clone());
        Ok(())
    }

    async fn rescue(&self, answer: &SealedAnswer) -> Result<(), QueueError> {
        if self.confirms_no_rescue.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.rescued.lock().unwrap().push(answer.clone());
        Ok(())
    }

    async fn consume_rescues(&self, _: u16) -> Result<Box<dyn DeliveryStream>, QueueError> {
        Ok(Box::new(FakeIntake(self.rescued.clone())))
    }
}

/// Delivers the rescued answers.
struct FakeIntake(Arc<Mutex<Vec<SealedAnswer>>>);

#[async_trait]
impl DeliveryStream for FakeIntake {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let answer = self.0.lock().unwrap().pop();
            if let Some(answer) = answer {
                let body = answer.encode();
                let acker = Box::new(RescueAcker { answer: Some(answer), queue: self.0.clone() });
                return Some(Delivery { body, redelivered: false, acker });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(&mut self) {}
}

/// Returns an answer to the queue unless it is acknowledged.
struct RescueAcker {
    answer: Option<SealedAnswer>,
    queue: Arc<Mutex<Vec<SealedAnswer>>>,
}

#[async_trait]
impl DeliveryAcker for RescueAcker {
    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        self.answer = None;
        Ok(())
    }
}

impl Drop for RescueAcker {
    fn drop(&mut self) {
        self.queue.lock().unwrap().extend(self.answer.take());
    }
}

/// Counts acknowledgements.
pub(crate) struct FakeAcker(pub(crate) Arc<AtomicU32>);

#[async_trait]
impl DeliveryAcker for FakeAcker {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
