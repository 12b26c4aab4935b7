//! Token documents in MongoDB, 5.0 or later.
//!
//! * `settings`: what the adapter needs to know.
//! * `names`: where in a document each thing is.
//! * `ids`, `extended_json`, `decode`: from BSON to the domain and back.
//! * `prepare`, `clock`: indexes, adoption, and whether the server's clock can be relied on.
//! * `due`, `claim`, `first_tokens`, `commit`: the way of a grant through a refresh; `revive`: back from its end.
//! * `change`, `fit`: what a commit makes of its document.
//! * `coordinate`: what replicas agree on; `server_clock`: the server's time without asking each time.
//! * `listing`, `operate`, `operators`, `records`, `import`, `transfer`, `inspect`: what operators ask for.
//! * `detached`, `update`, `errors`: how the driver is called; `engine`: which server this is.
//!
//! What holds everywhere here:
//!
//! * No future of the driver is dropped half-way (see `detached`).
//! * Nothing that the server or the driver says is passed on where it could quote a document or
//!   the URL (see `errors`).
//! * Every time that decides is the server's, and dates are compared as numbers (see `clock`).

mod adopt;
mod claim;
mod clock;
mod commit;
mod coordinate;
mod detached;
mod due;
mod engine;
mod errors;
mod first_tokens;
mod fit;
mod import;
mod inspect;
mod listing;
mod operate;
mod operators;
mod prepare;
mod records;
mod revive;
mod server_clock;
mod settings;
mod transfer;
mod update;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{
    ClientOptions, CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria,
};
use mongodb::{Client, Collection, Database};
use secrecy::ExposeSecret;
use tokio::sync::OnceCell;

use evergrant_document::names::Names;
use evergrant_domain::{DocumentId, LastError, ProviderId, ProviderState, Timestamp};
use evergrant_ports::Rest;
use evergrant_ports::{
    Claimed, Commit, Committed, DueGrant, DueQuery, Finding, GrantFilter, GrantView, HeldTokens,
    ImportDocument, ImportMode, Imported, Revived, StoreError, SweepPlace, TokenStore, Unadopted,
    Versioned,
};

use detached::{LONG, SHORT, detached, streamed};
use errors::{driver, refused};
use server_clock::ServerClock;
pub use settings::MongoSettings;

/// Token documents in MongoDB. A clone is another handle of the same connections.
#[derive(Clone)]
pub struct MongoStore {
    database: Database,
    collection: Collection<Document>,
    names: Arc<Names>,
    clock: Arc<ServerClock>,
    sharded: Arc<OnceCell<bool>>,
    /// The addresses of the servers in the URL.
    hosts: Arc<[String]>,
    /// After a search for documents to adopt.
    rest: Arc<Rest>,
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
        let mut options = detached("connect", SHORT, async move {
            let url = url.expose_secret();
            ClientOptions::parse(url).await.map_err(|error| errors::url(url, &error))
        })
        .await?;
        options.server_selection_timeout = Some(settings.selection_timeout);
        options.connect_timeout.get_or_insert(settings.selection_timeout.max(MIN_CONNECT_TIMEOUT));
        options.app_name.get_or_insert_with(|| "evergrant".to_owned());
        let hosts =
            options.hosts.iter().map(|address| address.to_string().to_lowercase()).collect();
        let client = Client::with_options(options).map_err(|error| driver("connect", &error))?;
        let database = client.database(&settings.database);
        let collection = database.collection_with_options(&settings.collection, primary_options());
        let names = Names::new(&settings.state_field, settings.fields);
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
const MIN_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

#[async_trait]
impl TokenStore for MongoStore {
    async fn prepare(&self) -> Result<(), StoreError> {
        let this = self.clone();
        detached("prepare", LONG, async move { this.prepare_collection().await }).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        let this = self.clone();
        detached("now", SHORT, async move { this.server_now("now").await }).await
    }

    async fn adopt(&self) -> Result<u64, StoreError> {
        let this = self.clone();
        detached("adopt", LONG, async move { this.adopt_documents().await }).await
    }

    async fn unadopted(&self) -> Result<Vec<Unadopted>, StoreError> {
        let this = self.clone();
        detached("unadopted", LONG, async move { this.count_unadopted().await }).await
    }

    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>> {
        let this = self.clone();
        streamed(|sender| async move { this.send_due(query, sender).await })
    }

    async fn mark_queued(&self, ids: &[DocumentId], duration: Duration) -> Result<(), StoreError> {
        let (this, ids) = (self.clone(), ids.to_vec());
        let marking = async move { this.mark(&ids, duration).await };
        detached("mark_queued", SHORT, marking).await
    }

    async fn claim(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        let (this, ids, owner) = (self.clone(), ids.to_vec(), owner.to_owned());
        let claim = async move { this.claim_documents(&ids, &owner, lease).await };
        detached("claim", SHORT, claim).await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Committed>, StoreError> {
        let (this, commits) = (self.clone(), commits.to_vec());
        detached("commit", SHORT, async move { this.commit_all(&commits).await }).await
    }

    async fn release(&self, ids: &[DocumentId], owner: &str) -> Result<(), StoreError> {
        let (this, ids, owner) = (self.clone(), ids.to_vec(), owner.to_owned());
        let release = async move { this.release_leases(&ids, &owner).await };
        detached("release", SHORT, release).await
    }

    async fn renew(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let (this, ids, owner) = (self.clone(), ids.to_vec(), owner.to_owned());
        let renew = async move { this.renew_leases(&ids, &owner, lease).await };
        detached("renew", SHORT, renew).await
    }

    async fn lead(&self, role: &str, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        let (this, role, owner) = (self.clone(), role.to_owned(), owner.to_owned());
        let lead = async move { this.take_lead(&role, &owner, lease).await };
        detached("lead", SHORT, lead).await
    }

    async fn resign(&self, role: &str, owner: &str) -> Result<(), StoreError> {
        let (this, role, owner) = (self.clone(), role.to_owned(), owner.to_owned());
        let resign = async move { this.give_up_lead(&role, &owner).await };
        detached("resign", SHORT, resign).await
    }

    async fn revive_signed_in(
        &self,
        after: Option<SweepPlace>,
        most: u32,
    ) -> Result<Revived, StoreError> {
        let this = self.clone();
        let revive = async move { this.sweep(after, most).await };
        detached("revive_signed_in", LONG, revive).await
    }

    async fn revive_dead(
        &self,
        provider: &ProviderId,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let (this, provider) = (self.clone(), provider.clone());
        let revive = async move { this.revive_where_dead(&provider, since).await };
        detached("revive_dead", LONG, revive).await
    }

    async fn provider_state(
        &self,
        provider: &ProviderId,
    ) -> Result<Versioned<ProviderState>, StoreError> {
        let (this, provider) = (self.clone(), provider.clone());
        let read = async move { this.read_provider_state(&provider).await };
        detached("provider_state", SHORT, read).await
    }

    async fn set_provider_state(
        &self,
        provider: &ProviderId,
        version: u64,
        state: &ProviderState,
    ) -> Result<bool, StoreError> {
        let (this, provider, state) = (self.clone(), provider.clone(), state.clone());
        let replace = async move { this.replace_provider_state(&provider, version, &state).await };
        detached("set_provider_state", SHORT, replace).await
    }

    fn list(&self, filter: GrantFilter) -> BoxStream<'_, Result<GrantView, StoreError>> {
        let this = self.clone();
        streamed(|sender| async move { this.send_views(filter, sender).await })
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<GrantView>, StoreError> {
        let (this, id) = (self.clone(), id.clone());
        detached("get", SHORT, async move { this.view(&id).await }).await
    }

    async fn withhold(
        &self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> Result<bool, StoreError> {
        let (this, id) = (self.clone(), id.clone());
        let (spent, last_error) = (spent.to_owned(), last_error.clone());
        let withholding = async move { this.withhold_spent(&id, &spent, &last_error).await };
        detached("withhold", SHORT, withholding).await
    }

    async fn reactivate(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError> {
        let (this, id) = (self.clone(), id.clone());
        detached("reactivate", SHORT, async move { this.revive(&id, queued).await }).await
    }

    async fn import_as(
        &self,
        documents: Vec<ImportDocument>,
        mode: ImportMode,
    ) -> Result<Vec<Imported>, StoreError> {
        let this = self.clone();
        detached("import", LONG, async move { this.import_documents(documents, mode).await }).await
    }

    fn export(&self) -> BoxStream<'_, Result<serde_json::Value, StoreError>> {
        let this = self.clone();
        streamed(|sender| async move { this.send_documents(sender).await })
    }

    fn held_tokens(&self) -> BoxStream<'_, Result<HeldTokens, StoreError>> {
        let this = self.clone();
        streamed(|sender| async move { this.send_held_tokens(sender).await })
    }

    async fn inspect(&self) -> Result<Vec<Finding>, StoreError> {
        let this = self.clone();
        detached("inspect", LONG, async move { Ok(this.findings().await) }).await
    }
}
