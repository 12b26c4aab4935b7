//! Supervises a lane: consumes its provider's work queues, and rebuilds the consumer when it is
//! lost.

use std::sync::Arc;
use std::time::Duration;

use evergrant_ports::Backoff;

use crate::lane::{Lane, PAUSE_CHECK_INTERVAL};
use crate::pipeline::intake::{self, IntakeEnd};

impl Lane {
    /// Serves the provider until the worker stops, then waits for the jobs under way.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::for_a_server();
        while !self.stop.is_cancelled() {
            match self.serve().await {
                IntakeEnd::Stopped => break,
                IntakeEnd::Outgrown => backoff.reset(),
                IntakeEnd::Shut(pause) => {
                    backoff.reset();
                    self.wait_while_shut(pause).await;
                }
                IntakeEnd::Lost { served } => {
                    if served {
                        backoff.reset();
                    }
                    self.sleep(backoff.next_wait()).await;
                }
            }
        }
        self.jobs.close();
        self.jobs.wait().await;
    }

    /// Checks again and again, because a probe that succeeds ends the pause early.
    async fn wait_while_shut(&self, pause: Duration) {
        let pause_s = pause.as_secs();
        tracing::info!(provider = %self.provider.id, pause_s, "the provider is paused or stopped: jobs wait in the queue");
        while let Some(pause) = self.long_pause() {
            if self.stop.is_cancelled() {
                return;
            }
            self.sleep(pause.min(PAUSE_CHECK_INTERVAL)).await;
        }
    }

    /// Serves one consumer.
    async fn serve(self: &Arc<Self>) -> IntakeEnd {
        if let Some(pause) = self.long_pause() {
            return IntakeEnd::Shut(pause);
        }
        let shards = self.settings.shards.as_deref();
        let prefetch = self.prefetch();
        let consuming = self.queue.consume(&self.provider.id, shards, prefetch);
        // An unresponsive broker must not delay the shutdown.
        let Some(consumer) = self.stop.run_until_cancelled(consuming).await else {
            return IntakeEnd::Stopped;
        };
        let intake = match consumer {
            Ok(intake) => intake,
            Err(error) => {
                tracing::error!(provider = %self.provider.id, %error, "cannot consume the work queues: trying again");
                self.tell_missing(&[(format!("that of {}", self.provider.id), error)]);
                return IntakeEnd::Lost { served: false };
            }
        };
        self.tell_missing(&[]);
        tracing::info!(provider = %self.provider.id, prefetch, "consuming the work queues");
        let end = intake::drive(self, intake, prefetch).await;
        if matches!(end, IntakeEnd::Lost { .. }) {
            self.set_healthy(false);
            tracing::warn!(provider = %self.provider.id, "the consumer is lost: rebuilding it");
        }
        end
    }
}
