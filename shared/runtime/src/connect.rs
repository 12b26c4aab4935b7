//! Which adapter a URL means. Moving from one file to servers is a change of two URLs.

use std::sync::Arc;

use secrecy::SecretString;

use crate::config::{Config, ConfigError, QueueSettings, QueueUrl, StoreSettings, StoreUrl};
use evergrant_document::adoption::AdoptionRules;
use evergrant_domain::ProviderId;
use evergrant_ports::{JobQueue, QueueError, Store, StoreError};
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
        StoreUrl::Mongodb(url) => mongodb(settings, url, adoption).await?,
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
        QueueUrl::Amqp(url) => rabbitmq(settings, url, providers, name)?,
    })
}

#[cfg(feature = "mongodb")]
async fn mongodb(
    settings: &StoreSettings,
    url: &SecretString,
    adoption: AdoptionRules,
) -> Result<Arc<dyn Store>, ConnectError> {
    let settings = settings.mongodb(url, adoption);
    Ok(Arc::new(evergrant_mongodb::MongoStore::connect(settings).await?))
}

#[cfg(not(feature = "mongodb"))]
async fn mongodb(
    _: &StoreSettings,
    _: &SecretString,
    _: AdoptionRules,
) -> Result<Arc<dyn Store>, ConnectError> {
    Err(not_built_in("store.url", "MongoDB", "mongodb"))
}

#[cfg(feature = "rabbitmq")]
fn rabbitmq(
    settings: &QueueSettings,
    url: &SecretString,
    providers: Vec<ProviderId>,
    name: String,
) -> Result<Arc<dyn JobQueue>, ConnectError> {
    let settings = settings.rabbitmq(url, providers, name)?;
    Ok(Arc::new(evergrant_rabbitmq::RabbitQueue::connect_lazily(settings)))
}

#[cfg(not(feature = "rabbitmq"))]
fn rabbitmq(
    _: &QueueSettings,
    _: &SecretString,
    _: Vec<ProviderId>,
    _: String,
) -> Result<Arc<dyn JobQueue>, ConnectError> {
    Err(not_built_in("queue.url", "RabbitMQ", "rabbitmq"))
}

#[cfg(not(all(feature = "mongodb", feature = "rabbitmq")))]
fn not_built_in(setting: &str, server: &str, feature: &str) -> ConnectError {
    let reason = format!(
        "this program was built without the client of {server}: name a file by sqlite:PATH, or take a \
         program that was built with the feature {feature}, as it is by default"
    );
    ConfigError::invalid(setting, reason).into()
}
