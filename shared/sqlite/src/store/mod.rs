//! Token documents in a file.
//!
//! * `table`, `key`, `paths`: a row, its key, changes within its document.
//! * `layout`, `adopt`: columns that agree with the settings, documents that get a state.
//! * `due`, `lease`, `commit`: the way of a grant through a refresh; `revive`: back from its end.
//! * `coordinate`: what processes agree on.
//! * `operate`, `operators`, `records`, `transfer`, `inspect`: what operators ask for.

mod adopt;
mod commit;
mod coordinate;
mod due;
mod first_tokens;
mod inspect;
mod key;
mod layout;
mod lease;
mod operate;
mod operators;
mod paths;
mod records;
mod revive;
mod table;
mod transfer;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use rusqlite::Connection;

use super::database::Database;
use super::failure::Failure;
use super::file;
use evergrant_document::adoption::AdoptionRules;
use evergrant_document::import::held_tokens;
use evergrant_document::names::Names;
use evergrant_document::{Fields, extended_json};
use evergrant_domain::{DocumentId, LastError, ProviderId, ProviderState, Timestamp};
use evergrant_ports::{
    Claimed, Commit, Committed, DueGrant, DueQuery, Finding, GrantFilter, GrantView, HeldTokens,
    ImportDocument, ImportMode, Imported, Rest, Revived, StoreError, SweepPlace, TokenStore,
    Unadopted, Versioned,
};

/// What the store needs to know.
#[derive(Debug, Clone)]
pub struct SqliteStoreSettings {
    /// The file. It is made if it does not exist.
    pub path: PathBuf,
    /// The application's own names of its fields.
    pub fields: Fields,
    /// The sub-document of Evergrant's state.
    pub state_field: String,
    /// Which documents are taken up, and by which provider.
    pub adoption: AdoptionRules,
}

/// Token documents in a file. A clone is another handle of the same file.
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    database: Arc<Database>,
    names: Names,
    /// After a search for documents to adopt.
    rest: Rest,
    /// Rows whose documents cannot be read, of which the log tells already.
    unreadable: Mutex<BTreeSet<i64>>,
}

/// Unreadable rows that are remembered at most.
const UNREADABLE_MAX: usize = 1_000;

impl Inner {
    /// Tells of a document that cannot be read, once.
    fn tell_unreadable(&self, n: i64) {
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if unreadable.len() < UNREADABLE_MAX && unreadable.insert(n) {
            tracing::error!(
                row = n,
                "a document cannot be read as BSON and is left out: the row n in \
                the table documents; the others go on"
            );
        }
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SqliteStore({})", self.0.database.path().display())
    }
}

impl SqliteStore {
    /// Opens the file, and makes it if it does not exist.
    ///
    /// # Errors
    /// If it cannot be opened or written, or is another program's or a later release's.
    pub async fn open(settings: SqliteStoreSettings) -> Result<Self, StoreError> {
        const OPERATION: &str = "open";
        let opened = Database::open(&settings.path);
        let database = opened.map_err(|failure| failure.in_store(OPERATION))?;
        let names = Names::new(&settings.state_field, settings.fields);
        let names = names.with_rules(settings.adoption);
        let (rest, unreadable) = (Rest::default(), Mutex::default());
        let store = Self(Arc::new(Inner { database, names, rest, unreadable }));
        let agree =
            |connection: &Connection, inner: &Inner| layout::agree(connection, &inner.names);
        store.write(OPERATION, agree).await?;
        Ok(store)
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection, &Inner) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let written = self.0.database.write(move |connection| work(connection, &inner)).await;
        written.map_err(|failure| failure.in_store(operation))
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection, &Arc<Inner>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let read = self.0.database.read(move |connection| work(connection, &inner)).await;
        read.map_err(|failure| failure.in_store(operation))
    }
}

/// A stream of what `read` finds, chunk after chunk, each from where the last one ended.
fn in_chunks<'a, T, P, F>(
    beginning: P,
    read: impl Fn(P) -> F + Send + 'a,
) -> BoxStream<'a, Result<T, StoreError>>
where
    T: Send + 'a,
    P: Send + 'a,
    F: Future<Output = Result<(Vec<T>, Option<P>), StoreError>> + Send + 'a,
{
    let chunks = stream::try_unfold((Some(beginning), read), |(place, read)| async move {
        let Some(place) = place else { return Ok(None) };
        let (chunk, next) = read(place).await?;
        Ok(Some((stream::iter(chunk.into_iter().map(Ok)), (next, read))))
    });
    chunks.try_flatten().boxed()
}

#[async_trait]
impl TokenStore for SqliteStore {
    async fn prepare(&self) -> Result<(), StoreError> {
        self.read("prepare", |connection, _| file::check(connection)).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.read("now", |connection, _| lease::now(connection)).await
    }

    async fn adopt(&self) -> Result<u64, StoreError> {
        adopt::adopt(&self.0).await.map_err(|failure| failure.in_store("adopt"))
    }

    async fn unadopted(&self) -> Result<Vec<Unadopted>, StoreError> {
        let counted = adopt::count_unadopted(&self.0).await;
        counted.map_err(|failure| failure.in_store("unadopted"))
    }

    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>> {
        in_chunks(due::beginning(&query), move |place| {
            let query = query.clone();
            self.read("due", move |connection, inner| {
                due::read_chunk(connection, inner, &query, place)
            })
        })
    }

    async fn mark_queued(&self, ids: &[DocumentId], duration: Duration) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.write("mark_queued", move |connection, inner| {
            lease::mark_queued(connection, &inner.names, &ids, duration)
        })
        .await
    }

    async fn claim(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        let (ids, owner) = (ids.to_vec(), owner.to_owned());
        self.write("claim", move |connection, inner| {
            lease::claim(connection, inner, &ids, &owner, lease)
        })
        .await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Committed>, StoreError> {
        let commits = commits.to_vec();
        self.write("commit", move |connection, inner| {
            commit::commit(connection, &inner.names, &commits)
        })
        .await
    }

    async fn release(&self, ids: &[DocumentId], owner: &str) -> Result<(), StoreError> {
        let (ids, owner) = (ids.to_vec(), owner.to_owned());
        self.write("release", move |connection, inner| {
            lease::release(connection, &inner.names, &ids, &owner)
        })
        .await
    }

    async fn renew(
        &self,
        ids: &[DocumentId],
        owner: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let (ids, owner) = (ids.to_vec(), owner.to_owned());
        self.write("renew", move |connection, inner| {
            lease::renew(connection, &inner.names, &ids, &owner, lease)
        })
        .await
    }

    async fn lead(&self, role: &str, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        let (role, owner) = (role.to_owned(), owner.to_owned());
        self.write("lead", move |connection, _| coordinate::lead(connection, &role, &owner, lease))
            .await
    }

    async fn resign(&self, role: &str, owner: &str) -> Result<(), StoreError> {
        let (role, owner) = (role.to_owned(), owner.to_owned());
        self.write("resign", move |connection, _| coordinate::resign(connection, &role, &owner))
            .await
    }

    async fn revive_signed_in(
        &self,
        after: Option<SweepPlace>,
        most: u32,
    ) -> Result<Revived, StoreError> {
        let revived = revive::sweep(&self.0, after, most).await;
        revived.map_err(|failure| failure.in_store("revive_signed_in"))
    }

    async fn revive_dead(
        &self,
        provider: &ProviderId,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let revived = revive::revive_dead(&self.0, provider, since).await;
        revived.map_err(|failure| failure.in_store("revive_dead"))
    }

    async fn provider_state(
        &self,
        provider: &ProviderId,
    ) -> Result<Versioned<ProviderState>, StoreError> {
        let provider = provider.clone();
        self.read("provider_state", move |connection, _| {
            coordinate::provider_state(connection, &provider)
        })
        .await
    }

    async fn set_provider_state(
        &self,
        provider: &ProviderId,
        version: u64,
        state: &ProviderState,
    ) -> Result<bool, StoreError> {
        let (provider, state) = (provider.clone(), state.clone());
        self.write("set_provider_state", move |connection, _| {
            coordinate::set_provider_state(connection, &provider, version, &state)
        })
        .await
    }

    fn list(&self, filter: GrantFilter) -> BoxStream<'_, Result<GrantView, StoreError>> {
        let limit = filter.limit.unwrap_or(u64::MAX);
        let beginning = (limit > 0).then_some((None, limit));
        let Some(beginning) = beginning else { return stream::empty().boxed() };
        in_chunks(beginning, move |(after, left)| {
            let filter = filter.clone();
            self.read("list", move |connection, inner| {
                let after = match after {
                    Some(after) => after,
                    None => operate::beginning(connection, &filter)?,
                };
                let (chunk, last) =
                    operate::list_chunk(connection, &inner.names, &filter, &after, left)?;
                let left = left - chunk.len() as u64;
                Ok((chunk, last.filter(|_| left > 0).map(|last| (Some(last), left))))
            })
        })
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<GrantView>, StoreError> {
        let id = id.clone();
        self.read("get", move |connection, inner| operate::get(connection, &inner.names, &id)).await
    }

    async fn withhold(
        &self,
        id: &DocumentId,
        spent: &str,
        last_error: &LastError,
    ) -> Result<bool, StoreError> {
        let (id, spent, last_error) = (id.clone(), spent.to_owned(), last_error.clone());
        self.write("withhold", move |connection, inner| {
            revive::withhold(connection, &inner.names, &id, &spent, &last_error)
        })
        .await
    }

    async fn reactivate(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError> {
        let id = id.clone();
        self.write("reactivate", move |connection, inner| {
            revive::reactivate(connection, inner, &id, queued)
        })
        .await
    }

    async fn import_as(
        &self,
        documents: Vec<ImportDocument>,
        mode: ImportMode,
    ) -> Result<Vec<Imported>, StoreError> {
        let read = transfer::read_all(documents).map_err(|failure| failure.in_store("import"))?;
        self.write("import", move |connection, inner| {
            transfer::import(connection, &inner.names, read, mode)
        })
        .await
    }

    fn export(&self) -> BoxStream<'_, Result<serde_json::Value, StoreError>> {
        in_chunks(Vec::new(), move |after: Vec<u8>| {
            self.read("export", move |connection, _| {
                transfer::chunk(connection, &after, extended_json::of_document)
            })
        })
    }

    fn held_tokens(&self) -> BoxStream<'_, Result<HeldTokens, StoreError>> {
        in_chunks(Vec::new(), move |after: Vec<u8>| {
            self.read("held_tokens", move |connection, inner| {
                transfer::chunk(connection, &after, |document| held_tokens(&inner.names, &document))
            })
        })
    }

    async fn inspect(&self) -> Result<Vec<Finding>, StoreError> {
        let path = self.0.database.path().display().to_string();
        let left = self.unadopted().await?;
        self.read("inspect", move |connection, _| Ok(inspect::findings(connection, &path, &left)))
            .await
    }
}
