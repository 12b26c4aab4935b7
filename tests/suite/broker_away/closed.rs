//! Connections and channels that the broker closes.

use evergrant_testkit::dedicated::DedicatedServer;
use evergrant_testkit::deployment::eventually;
use evergrant_testkit::rabbitmq;
use lapin::options::QueuePurgeOptions;

use super::{V3, V4, assert_all_are_refreshed, exchanged, forget_what_is_queued, imported};

#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_by_the_broker_are_rebuilt() {
    let (broker, evergrant) = imported(V4, 250).await;
    let _programs = evergrant.start_all(2);
    for so_far in [40, 100, 160] {
        exchanged(&evergrant, so_far).await;
        broker.exec(&["rabbitmqctl", "close_all_connections", "a test"]).await;
    }
    assert_all_are_refreshed(&evergrant).await;
}

/// Lost messages cost time: their documents become due again.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_lost_by_the_broker_are_published_again() {
    let (broker, evergrant) = imported(V4, 600).await;
    let _programs = evergrant.start_all(2);
    exchanged(&evergrant, 50).await;
    let channel = rabbitmq::channel(&broker.url()).await;
    let name = format!("{}.refresh.simulator.0", evergrant.variable("QUEUE__PREFIX"));
    // Between two passes there may be nothing to lose.
    eventually("jobs are lost", || async {
        let name = name.as_str().into();
        channel.queue_purge(name, QueuePurgeOptions::default()).await.unwrap() > 0
    })
    .await;
    forget_what_is_queued(&evergrant).await;
    assert_all_are_refreshed(&evergrant).await;
}

/// The broker closes the channel of a consumer that takes too long over a message.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_closed_by_the_broker_is_rebuilt() {
    let (broker, evergrant) = imported(V3, 100).await;
    // The interval is fixed when a connection begins, so this comes before the worker.
    set(&broker, "channel_tick_interval", 500).await;
    set(&broker, "consumer_timeout", 1_000).await;
    evergrant.simulator.change(|provider| provider.latency_ms = 4_000).unwrap();
    let programs = evergrant.start_all(1);
    eventually("a channel is closed", || async {
        programs[1].logged().contains("the consumer is lost")
    })
    .await;
    set(&broker, "consumer_timeout", 1_800_000).await;
    evergrant.simulator.change(|provider| provider.latency_ms = 50).unwrap();
    assert_all_are_refreshed(&evergrant).await;
}

async fn set(broker: &DedicatedServer, name: &str, value: u32) {
    let set = format!("application:set_env(rabbit, {name}, {value}).");
    broker.exec(&["rabbitmqctl", "eval", &set]).await;
}
