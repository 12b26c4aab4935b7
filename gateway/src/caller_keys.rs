//! The keys of callers, read from the store about once a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use evergrant_domain::Timestamp;
use evergrant_domain::api_key::{ApiKey, key_hash, key_name};
use evergrant_ports::{Store, StoreError};
use tokio::time::Instant;

/// How long keys are believed after they were read: a revoked one ends within this time.
const KEYS_TTL: Duration = Duration::from_millis(900);
/// How long keys are believed while the store is away, so that nobody can revoke one.
const KEYS_WITHOUT_STORE_TTL: Duration = Duration::from_secs(60);
/// How often the use of a key is noted.
const USE_INTERVAL: Duration = Duration::from_secs(60);

/// The keys as they were read last.
pub(crate) struct CallerKeys {
    store: Arc<dyn Store>,
    known: RwLock<Option<Arc<KnownKeys>>>,
    /// One reads, the others wait for it. It remembers a read that failed.
    reading: tokio::sync::Mutex<Option<(Instant, StoreError)>>,
    used: Mutex<HashMap<String, Instant>>,
}

struct KnownKeys {
    by_name: HashMap<String, Arc<ApiKey>>,
    /// The store's clock when they were read.
    read_at: Timestamp,
    /// When the read began, by our own clock.
    since: Instant,
}

impl CallerKeys {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let (known, reading) = (RwLock::default(), tokio::sync::Mutex::default());
        Self { store, known, reading, used: Mutex::default() }
    }

    /// The key of a caller, if its text is valid now.
    ///
    /// # Errors
    /// If keys cannot be read, and those that were read before are too old.
    pub(crate) async fn admit(&self, text: &str) -> Result<Option<Arc<ApiKey>>, StoreError> {
        let known = self.known().await?;
        let now = known.read_at.plus(known.since.elapsed());
        let key = key_name(text).and_then(|name| known.by_name.get(name));
        let key = key.filter(|key| key.admits(&key_hash(text), now)).cloned();
        if let Some(key) = &key {
            self.note_use(&key.name);
        }
        Ok(key)
    }

    async fn known(&self) -> Result<Arc<KnownKeys>, StoreError> {
        let asked_at = Instant::now();
        // A read that began after this call is as good as one of its own, however long it took.
        let is_good = |since: Instant| since >= asked_at || since.elapsed() < KEYS_TTL;
        if let Some(known) = self.last_known().filter(|known| is_good(known.since)) {
            return Ok(known);
        }
        let mut failed = self.reading.lock().await;
        if let Some(known) = self.last_known().filter(|known| is_good(known.since)) {
            return Ok(known);
        }
        if let Some((_, error)) = failed.as_ref().filter(|(since, _)| is_good(*since)) {
            return self.without_store(error.clone());
        }
        let since = Instant::now();
        let read = async { Ok((self.store.now().await?, self.store.api_keys().await?)) };
        match read.await {
            Ok((read_at, records)) => {
                let by_name = records.into_iter().map(|it| (it.key.name.clone(), Arc::new(it.key)));
                let known = Arc::new(KnownKeys { by_name: by_name.collect(), read_at, since });
                *self.known.write().unwrap_or_else(PoisonError::into_inner) =
                    Some(Arc::clone(&known));
                *failed = None;
                Ok(known)
            }
            Err(error) => {
                *failed = Some((since, StoreError::clone(&error)));
                self.without_store(error)
            }
        }
    }

    /// What is known while the store is away. One that refuses is there, and keys may be revoked in it.
    fn without_store(&self, error: StoreError) -> Result<Arc<KnownKeys>, StoreError> {
        let is_young = |known: &Arc<KnownKeys>| known.since.elapsed() < KEYS_WITHOUT_STORE_TTL;
        match error {
            StoreError::Unavailable { .. } => self.last_known().filter(is_young).ok_or(error),
            StoreError::Refused { .. } => Err(error),
        }
    }

    fn last_known(&self) -> Option<Arc<KnownKeys>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a use in the background: whether it is noted decides nothing.
    fn note_use(&self, name: &str) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.get(name).is_some_and(|noted| noted.elapsed() < USE_INTERVAL) {
            return;
        }
        used.insert(name.to_owned(), Instant::now());
        let (store, name) = (Arc::clone(&self.store), name.to_owned());
        tokio::spawn(async move {
            if let Err(error) = store.note_key_use(&name).await {
                tracing::debug!(%error, key = name, "the use of a key is not noted");
            }
        });
    }
}
