//! Deleted queues: the broker cancels their consumers, and cannot route jobs.

use evergrant_testkit::dedicated::DedicatedServer;
use evergrant_testkit::deployment::{TestDeployment, eventually};
use evergrant_testkit::rabbitmq;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;

use super::{V3, V4, assert_all_are_refreshed, exchanged, forget_what_is_queued, imported};

#[tokio::test(flavor = "multi_thread")]
async fn queues_deleted_in_mid_run_are_declared_again() {
    let (broker, evergrant) = imported(V3, 250).await;
    let _programs = evergrant.start_all(2);
    exchanged(&evergrant, 50).await;
    delete(&broker, &evergrant, &["refresh.simulator.0", "retry.1000"]).await;
    eventually("the queue is there again", || async {
        waiting(&broker, &evergrant).await.is_some()
    })
    .await;
    forget_what_is_queued(&evergrant).await;
    assert_all_are_refreshed(&evergrant).await;
}

/// Without consumers, only the producer can declare the queue again.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_declares_a_deleted_queue_again() {
    let (broker, evergrant) = imported(V4, 150).await;
    let _producer = evergrant.start("evergrant-producer", &[]);
    eventually("the queue is full", || async { waiting(&broker, &evergrant).await == Some(100) })
        .await;
    delete(&broker, &evergrant, &["refresh.simulator.0"]).await;
    eventually("the rest is in the queue", || async {
        waiting(&broker, &evergrant).await == Some(50)
    })
    .await;
}

async fn delete(broker: &DedicatedServer, evergrant: &TestDeployment, names: &[&str]) {
    let channel = rabbitmq::channel(&broker.url()).await;
    for name in names {
        let queue = format!("{}.{name}", evergrant.variable("QUEUE__PREFIX"));
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }
}

/// The waiting jobs, without our own adapter, which would declare the queue. None without a queue.
async fn waiting(broker: &DedicatedServer, evergrant: &TestDeployment) -> Option<u32> {
    let channel = rabbitmq::channel(&broker.url()).await;
    let queue = format!("{}.refresh.simulator.0", evergrant.variable("QUEUE__PREFIX"));
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asked = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
    Some(asked.ok()?.message_count())
}
