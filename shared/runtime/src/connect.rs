//! Which adapter a URL means. Moving from one file to servers is a change of two URLs.

use std::sync::Arc;

use secrecy::ExposeSecret;

use crate::config::{Config, ConfigError};
use evergrant_mongodb::MongoStore;
use evergrant_ports::{JobQueue, QueueError, Store, StoreError};
use evergrant_rabbitmq::RabbitQueue;
use evergrant_sqlite::{SqliteQueue, SqliteStore, is_sqlite_url};

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

/// The store that `store.url` means: `mongodb://`, `mongodb+srv://` or `sqlite:`. A server is
/// connected to when it is first used; a file is opened at once.
///
/// # Errors
/// If the URL cannot be used, or the file cannot.
pub async fn store(config: &Config) -> Result<Arc<dyn Store>, ConnectError> {
    let adoption = config.adoption()?;
    if is_sqlite_url(config.store.url.expose_secret()) {
        let settings = config.store.sqlite(adoption)?;
        return Ok(Arc::new(SqliteStore::open(settings).await?));
    }
    Ok(Arc::new(MongoStore::connect(config.store.mongo(adoption)).await?))
}

/// The queue that `queue.url` means: `amqp://`, `amqps://` or `sqlite:`, with queues for every
/// provider of the settings. `name` is what a broker shows of the connection.
///
/// # Errors
/// If the URL cannot be used, or the file cannot.
pub fn queue(config: &Config, name: String) -> Result<Arc<dyn JobQueue>, ConnectError> {
    let providers = config.providers.keys().cloned();
    if is_sqlite_url(config.queue.url.expose_secret()) {
        let settings = config.queue.sqlite(providers)?;
        return Ok(Arc::new(SqliteQueue::open(settings)?));
    }
    Ok(Arc::new(RabbitQueue::connect_lazily(config.queue.rabbit(providers, name)?)))
}
