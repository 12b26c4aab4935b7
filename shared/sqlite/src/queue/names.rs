//! The names of queues with one prefix, the same as on a broker.

use evergrant_domain::ProviderId;

/// The names with one prefix.
#[derive(Debug, Clone)]
pub(super) struct QueueNames {
    prefix: String,
}

/// A queue to be declared.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) name: String,
    /// The destination of messages that are redelivered too often, if there is one.
    pub(super) dead: Option<String>,
}

impl QueueNames {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn work(&self, provider: &ProviderId, shard: u16) -> String {
        format!("{}.refresh.{provider}.{shard}", self.prefix)
    }

    pub(super) fn dead(&self, provider: &ProviderId) -> String {
        format!("{}.dead.{provider}", self.prefix)
    }

    pub(super) fn rescue(&self) -> String {
        format!("{}.rescue", self.prefix)
    }

    /// All queues of these providers.
    pub(super) fn all(&self, providers: &[ProviderId], shards: u16) -> Vec<Queue> {
        let mut queues = vec![Queue { name: self.rescue(), dead: None }];
        for provider in providers {
            let dead = self.dead(provider);
            for shard in 0..shards.max(1) {
                let name = self.work(provider, shard);
                queues.push(Queue { name, dead: Some(dead.clone()) });
            }
            queues.push(Queue { name: dead, dead: None });
        }
        queues
    }
}
