//! Token documents in a file.
//!
//! * `table`, `key`: a row and its key.
//! * `layout`, `adopt`: columns that agree with the settings, documents that get a state.
//! * `due`, `lease`: the way of a grant through a refresh; `revive`: back from its end.
//! * `coordinate`: what processes agree on.
//! * `operators`, `operate`, `records`, `transfer`, `inspect`: what operators ask for.
//!
//! Each role of the store ([`evergrant_ports`]) is implemented beside what it does.

mod adopt;
mod coordinate;
mod due;
mod first_tokens;
mod inspect;
mod key;
mod keys;
mod layout;
mod lease;
mod operate;
mod operators;
mod records;
mod revive;
mod table;
mod token_reader;
mod transfer;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use rusqlite::Connection;

use super::database::Database;
use super::failure::Failure;
use super::file;
use evergrant_document::FieldNames;
use evergrant_document::adoption::AdoptionRules;
use evergrant_document::field_paths::FieldPaths;
use evergrant_domain::Timestamp;
use evergrant_ports::{DueStore, InspectionFinding, SearchCooldown, Store, StoreClock, StoreError};

/// What the store needs to know.
#[derive(Debug, Clone)]
pub struct SqliteStoreSettings {
    /// The file. It is made if it does not exist.
    pub path: PathBuf,
    /// The application's own names of its fields.
    pub fields: FieldNames,
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
    names: FieldPaths,
    /// After a search for documents to adopt.
    rest: SearchCooldown,
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
        let names = FieldPaths::new(&settings.state_field, settings.fields);
        let names = names.with_rules(settings.adoption);
        let (rest, unreadable) = (SearchCooldown::default(), Mutex::default());
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
impl StoreClock for SqliteStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.read("now", |connection, _| lease::now(connection)).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn prepare(&self) -> Result<(), StoreError> {
        self.read("prepare", |connection, _| file::check(connection)).await
    }

    async fn inspect(&self) -> Result<Vec<InspectionFinding>, StoreError> {
        let path = self.0.database.path().display().to_string();
        let left = self.unadopted().await?;
        self.read("inspect", move |connection, _| Ok(inspect::findings(connection, &path, &left)))
            .await
    }
}
