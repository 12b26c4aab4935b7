//! Which adapter a URL means. Moving from one file to servers is a change of two URLs.

use std::sync::Arc;

use crate::config::{Config, ConfigError, QueueUrl, StoreUrl};
use evergrant_mongodb::MongoStore;
use evergrant_ports::{JobQueue, QueueError, Store, StoreError};
use evergrant_rabbitmq::RabbitQueue;
use evergrant_sqlite::{SqliteQueue, SqliteStore};

/// An adapter that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue refuses.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// The store that `store.url` means. A server is connected to when it is first used; a file is
/// opened at once.
///
/// # Errors
/// If the URL cannot be used, or the file cannot.
pub async fn store(config: &Config) -> Result<Arc<dyn Store>, ConnectError> {
    let (settings, adoption) = (&config.store, config.adoption()?);
    Ok(match &settings.url {
        StoreUrl::Sqlite(file) => {
            Arc::new(SqliteStore::open(settings.sqlite(file, adoption)).await?)
        }
        StoreUrl::Mongodb(url) => {
            Arc::new(MongoStore::connect(settings.mongodb(url, adoption)).await?)
        }
    })
}

/// The queue that `queue.url` means, with queues for every provider of the settings. `name` is what
/// a broker shows of the connection.
///
/// # Errors
/// If the URL cannot be used, or the file cannot.
pub fn queue(config: &Config, name: String) -> Result<Arc<dyn JobQueue>, ConnectError> {
    let (settings, providers) = (&config.queue, config.providers.keys().cloned().collect());
    Ok(match &settings.url {
        QueueUrl::Sqlite(file) => Arc::new(SqliteQueue::open(settings.sqlite(file, providers)?)?),
        QueueUrl::Amqp(url) => {
            Arc::new(RabbitQueue::connect_lazily(settings.rabbitmq(url, providers, name)?))
        }
    })
}
