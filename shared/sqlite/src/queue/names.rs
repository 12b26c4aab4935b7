//! The names of queues below one prefix, the same as on a broker.

use evergrant_domain::ProviderId;

/// The names below one prefix.
#[derive(Debug, Clone)]
pub(super) struct QueueNames {
    prefix: String,
}

/// A queue that shall be there.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) name: String,
    /// Where what is delivered again and again goes, if anywhere.
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
