//! A broker that is short of memory: it blocks the connections that publish.

use evergrant_testkit::deployment::eventually;

use super::{V4, assert_all_are_refreshed, exchanged, imported};

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_broker_is_waited_for() {
    // More than are refreshed before the broker has its limit.
    let (broker, evergrant) = imported(V4, 1_000).await;
    let mut programs = evergrant.start_all(2);
    exchanged(&evergrant, 50).await;
    set_memory_limit(&broker, "0.0001").await;
    // Queued jobs are still delivered, refreshed and acknowledged; nothing new is queued.
    eventually("the producer is told", || async {
        programs[0].logged().contains("short of memory or disk")
    })
    .await;
    assert!(programs.iter_mut().all(|program| program.is_running()));
    assert!(!evergrant.is_finished().await, "nothing was left to wait for");
    set_memory_limit(&broker, "0.6").await;
    assert_all_are_refreshed(&evergrant).await;
}

async fn set_memory_limit(broker: &evergrant_testkit::dedicated::DedicatedServer, share: &str) {
    broker.exec(&["rabbitmqctl", "set_vm_memory_high_watermark", share]).await;
}
