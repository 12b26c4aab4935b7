//! Token documents in MongoDB, 5.0 or later.
//!
//! * `settings`: what the adapter needs to know.
//! * `names`: where in a document each thing is.
//! * `ids`, `extended_json`, `decode`: from BSON to the domain and back.
//! * `prepare`, `clock`: indexes, adoption, and whether the server's clock can be relied on.
//! * `due`, `claim`, `first_tokens`, `commit`: the way of a grant through a refresh; `revive`: back from its end.
//! * `transition`: what the document engine says, as filters and updates; `fit`: a commit's, made to fit.
//! * `coordinate`: what replicas agree on; `server_clock`: the server's time without asking each time.
//! * `operators`, `listing`, `operate`, `records`, `import`, `transfer`, `inspect`: what operators ask for.
//! * `uncancelled`, `update`, `errors`: how the driver is called; `engine`: which server this is.
//!
//! Each role of the store ([`evergrant_ports`]) is implemented beside what it does.
//!
//! What holds everywhere here:
//!
//! * No future of the driver is dropped half-way (see `uncancelled`).
//! * Nothing that the server or the driver says is passed on where it could quote a document or
//!   the URL (see `errors`).
//! * Every time that decides is the server's, and dates are compared as numbers (see `clock`).

mod adopt;
mod claim;
mod clock;
mod commit;
mod coordinate;
mod due;
mod engine;
mod errors;
mod first_tokens;
mod fit;
mod import;
mod inspect;
mod keys;
mod listing;
mod operate;
mod operators;
mod prepare;
mod records;
mod revive;
mod server_clock;
mod settings;
mod token_reader;
mod transfer;
mod transition;
mod uncancelled;
mod update;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{
    ClientOptions, CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria,
};
use mongodb::{Client, Collection, Database};
use secrecy::ExposeSecret;
use tokio::sync::OnceCell;

use evergrant_document::field_paths::FieldPaths;
use evergrant_domain::Timestamp;
use evergrant_ports::{InspectionFinding, SearchCooldown, Store, StoreClock, StoreError};

use errors::{driver, refused};
use server_clock::ServerClock;
pub use settings::MongoSettings;
use uncancelled::{LONG_TIMEOUT, SHORT_TIMEOUT, uncancelled};

/// Token documents in MongoDB. A clone is another handle of the same connections.
#[derive(Clone)]
pub struct MongoStore {
    database: Database,
    collection: Collection<Document>,
    names: Arc<FieldPaths>,
    clock: Arc<ServerClock>,
    sharded: Arc<OnceCell<bool>>,
    /// The addresses of the servers in the URL.
    hosts: Arc<[String]>,
    /// After a search for documents to adopt.
    rest: Arc<SearchCooldown>,
}

impl std::fmt::Debug for MongoStore {
    /// The collection's name: the URL holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MongoStore({})", self.collection.namespace())
    }
}

impl MongoStore {
    /// A store that connects when it is first used. Only `mongodb+srv://` asks the DNS at once.
    ///
    /// # Errors
    /// If the URL is not a MongoDB URL, or its DNS name is not to be found.
    pub async fn connect(settings: MongoSettings) -> Result<Self, StoreError> {
        let url = settings.url.clone();
        let mut options = uncancelled("connect", SHORT_TIMEOUT, async move {
            let url = url.expose_secret();
            ClientOptions::parse(url).await.map_err(|error| errors::url(url, &error))
        })
        .await?;
        options.server_selection_timeout = Some(settings.selection_timeout);
        options.connect_timeout.get_or_insert(settings.selection_timeout.max(CONNECT_TIMEOUT_MIN));
        options.app_name.get_or_insert_with(|| "evergrant".to_owned());
        let hosts =
            options.hosts.iter().map(|address| address.to_string().to_lowercase()).collect();
        let client = Client::with_options(options).map_err(|error| driver("connect", &error))?;
        let database = client.database(&settings.database);
        let collection = database.collection_with_options(&settings.collection, primary_options());
        let names = FieldPaths::new(&settings.state_field, settings.fields);
        let names = Arc::new(names.with_rules(settings.adoption));
        let clock = Arc::new(ServerClock::new());
        let (sharded, rest) = (Arc::default(), Arc::default());
        Ok(Self { database, collection, names, clock, sharded, hosts, rest })
    }

    async fn command(
        &self,
        operation: &'static str,
        command: Document,
    ) -> Result<Document, StoreError> {
        self.database.run_command(command).await.map_err(|error| driver(operation, &error))
    }

    /// Whether the collection may be spread over many servers. The server is asked once.
    async fn is_sharded(&self, operation: &'static str) -> Result<bool, StoreError> {
        let ask = async || {
            let hello = self.command(operation, doc! { "hello": 1 }).await?;
            Ok(is_router(&hello))
        };
        self.sharded.get_or_try_init(ask).await.copied()
    }

    async fn server_now(&self, operation: &'static str) -> Result<Timestamp, StoreError> {
        match self.command(operation, doc! { "hello": 1 }).await?.get("localTime") {
            Some(Bson::DateTime(time)) => Ok(Timestamp::from_unix_ms(time.timestamp_millis())),
            _ => Err(refused(operation, "the server does not tell its time in answer to `hello`")),
        }
    }
}

/// Whether the answer to `hello` is that of a sharded cluster's router.
fn is_router(hello: &Document) -> bool {
    hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid")
}

/// Whatever the URL prefers: what is read here decides what is written, so it must be what the
/// primary has.
fn primary_options() -> CollectionOptions {
    CollectionOptions::builder()
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .read_concern(ReadConcern::local())
        .write_concern(update::DURABLE.concern())
        .build()
}

/// A handshake with TLS and authentication takes several round trips.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_secs(2);

#[async_trait]
impl StoreClock for MongoStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        let this = self.clone();
        uncancelled("now", SHORT_TIMEOUT, async move { this.server_now("now").await }).await
    }
}

#[async_trait]
impl Store for MongoStore {
    async fn prepare(&self) -> Result<(), StoreError> {
        let this = self.clone();
        uncancelled("prepare", LONG_TIMEOUT, async move { this.prepare_collection().await }).await
    }

    async fn inspect(&self) -> Result<Vec<InspectionFinding>, StoreError> {
        let this = self.clone();
        uncancelled("inspect", LONG_TIMEOUT, async move { Ok(this.findings().await) }).await
    }
}
