//! The installation that is left, beside its store: what of it may hold new tokens.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::{DeadReason, ProviderId};
use evergrant_ports::{JobQueue, QueueError};
use evergrant_runtime::config::{Config, QueueUrl};
use evergrant_runtime::connect::{self, ConnectError};

use super::MigrateError;
use crate::output::Output;

/// How long a queue is given to answer everything.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a rescue queue is given to deliver what is in it.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// The installation that is left, beside its store.
pub(crate) struct Installation {
    /// Its queues, as far as anybody knows of them.
    queues: Vec<Arc<dyn JobQueue>>,
    providers: Vec<ProviderId>,
    /// Where its documents have their state.
    pub(super) state_field: String,
}

impl Installation {
    /// The queue of the settings, and of a file that is left that file: its jobs are in it.
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConnectError> {
        let open = |config: &Config| connect::queue(config, "evergrant migrate".to_owned());
        let mut queues = vec![open(config)?];
        if let Some(file) = config.store.url.file()
            && config.queue.url.file() != Some(file)
        {
            let mut in_file = config.clone();
            in_file.queue.url = QueueUrl::Sqlite(file.to_owned());
            queues.push(open(&in_file)?);
        }
        let providers = config.providers.keys().cloned().collect();
        Ok(Self { queues, providers, state_field: config.store.state_field.clone() })
    }

    /// Looks for new tokens that are not in a document yet. A queue that cannot be reached is told.
    ///
    /// # Errors
    /// If there are some.
    pub(super) async fn ensure_written(&self, output: &Output) -> Result<(), MigrateError> {
        for queue in &self.queues {
            let looked = tokio::time::timeout(ANSWER_TIMEOUT, self.look(&**queue)).await;
            match looked {
                Ok(Err(MigrateError::Queue(error))) => warn(output, &error),
                Ok(looked) => looked?,
                Err(_) => warn(output, &"the queue does not answer"),
            }
        }
        Ok(())
    }

    async fn look(&self, queue: &dyn JobQueue) -> Result<(), MigrateError> {
        if has_rescues(queue).await? {
            return Err(MigrateError::RescuedAnswers);
        }
        let mut uncommitted = 0;
        for provider in &self.providers {
            let mut letters = queue.dead_letters(provider).await?;
            letters.browse_only();
            while let Some(letter) = letters.next().await? {
                uncommitted += u64::from(letter.reason == DeadReason::UncommittedAnswer);
            }
            letters.close().await?;
        }
        if uncommitted > 0 { Err(MigrateError::Letters(uncommitted)) } else { Ok(()) }
    }
}

fn warn(output: &Output, why: &dyn std::fmt::Display) {
    output.message(&format!(
        "warning: {why}. Make sure that the rescue queue of the installation that you leave is empty, \
         and that no dead letter of it is an uncommitted_answer"
    ));
}

/// Whether the rescue queue delivers something. It is not acknowledged, so it goes back.
async fn has_rescues(queue: &dyn JobQueue) -> Result<bool, QueueError> {
    let mut rescues = queue.consume_rescues(1).await?;
    let delivered = tokio::time::timeout(DELIVERY_TIMEOUT, rescues.next()).await;
    rescues.stop().await;
    Ok(matches!(delivered, Ok(Some(_))))
}
