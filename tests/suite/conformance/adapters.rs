//! The adapters under test. A new adapter is a line in each list, and a function here that opens
//! it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::ladder::Ladder;
use evergrant_memory::{MemoryBroker, MemoryClock, MemoryQueueSettings, MemoryStore};
use evergrant_mongodb::MongoStore;
use evergrant_ports::{Store, wall_clock};
use evergrant_rabbitmq::RabbitQueue;
use evergrant_testkit::mongodb as server;
use evergrant_testkit::rabbitmq::{BrokerVersion, V3, V4};
use futures::future::BoxFuture;

use super::queue::Case;

/// Opens an empty adapter.
type Opener = fn() -> BoxFuture<'static, Arc<dyn Store>>;

tokio::task_local! {
    /// The adapter under test.
    static ADAPTER: Opener;
}

/// Runs a store test with one adapter.
pub(super) async fn on(adapter: Opener, test: impl Future<Output = ()>) {
    ADAPTER.scope(adapter, test).await;
}

/// A new store for each test.
pub(super) async fn store() -> Arc<dyn Store> {
    let store = ADAPTER.get()().await;
    store.prepare().await.unwrap();
    store
}

/// Runs every test of this list with every store.
macro_rules! on_each_store {
    ($($test:ident),* $(,)?) => {
        $crate::conformance::adapters::on_each_store!(@ mongodb: $($test)*);
        $crate::conformance::adapters::on_each_store!(@ memory: $($test)*);
        $crate::conformance::adapters::on_each_store!(@ sqlite: $($test)*);
    };
    (@ $adapter:ident: $($test:ident)*) => {
        mod $adapter {
            use $crate::conformance::adapters;
            $(#[tokio::test]
            async fn $test() { adapters::on(adapters::$adapter, super::$test()).await; })*
        }
    };
}
pub(super) use on_each_store;

pub(super) fn mongodb() -> BoxFuture<'static, Arc<dyn Store>> {
    Box::pin(async {
        let settings = super::store::settings(server::url().await);
        Arc::new(MongoStore::connect(settings).await.unwrap()) as Arc<dyn Store>
    })
}

pub(super) fn memory() -> BoxFuture<'static, Arc<dyn Store>> {
    Box::pin(async {
        let clock = MemoryClock::starting_at(wall_clock());
        Arc::new(MemoryStore::new(clock, "p".parse().ok())) as Arc<dyn Store>
    })
}

pub(super) fn sqlite() -> BoxFuture<'static, Arc<dyn Store>> {
    Box::pin(async { Arc::new(super::sqlite::new_store().await) as Arc<dyn Store> })
}

/// Runs every test of this list with every queue.
macro_rules! on_each_queue {
    ($($test:ident),* $(,)?) => {
        $crate::conformance::adapters::on_each_queue!(@ rabbitmq_3: $($test)*);
        $crate::conformance::adapters::on_each_queue!(@ rabbitmq_4: $($test)*);
        $crate::conformance::adapters::on_each_queue!(@ memory_queue: $($test)*);
        $crate::conformance::adapters::on_each_queue!(@ sqlite_queue: $($test)*);
    };
    (@ $adapter:ident: $($test:ident)*) => {
        mod $adapter {
            use $crate::conformance::adapters;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$test(adapters::$adapter().await).await; })*
        }
    };
}
pub(super) use on_each_queue;

pub(super) async fn rabbitmq_3() -> Case {
    rabbitmq(&V3).await
}

pub(super) async fn rabbitmq_4() -> Case {
    rabbitmq(&V4).await
}

async fn rabbitmq(version: &BrokerVersion) -> Case {
    let url = version.url().await;
    let prefix = format!("conformance-{}", uuid::Uuid::new_v4().simple());
    let queue = RabbitQueue::connect_lazily(super::queue::settings(&url, &prefix));
    Case::new(url, prefix, Arc::new(queue)).await
}

pub(super) async fn sqlite_queue() -> Case {
    Case::new(String::new(), String::new(), Arc::new(super::sqlite::new_queue())).await
}

pub(super) async fn memory_queue() -> Case {
    Case::new(String::new(), String::new(), Arc::new(memory_broker().connect())).await
}

pub(super) fn memory_broker() -> MemoryBroker {
    let settings = MemoryQueueSettings {
        providers: vec![super::queue::provider()],
        shards: 2,
        ladder: ladder(),
    };
    MemoryBroker::new(settings, MemoryClock::starting_at(wall_clock()))
}

/// The retry delays of all queues here.
pub(super) fn ladder() -> Ladder {
    Ladder::new([200, 1_000].map(Duration::from_millis).to_vec()).unwrap()
}
