//! `evergrant console`: the operator's web console.
//!
//! * `guard`: the middleware of all requests. `auth`: authentication and access.
//! * `fleet_monitor`, `letters`: the state of the fleet, read in the background.
//! * `pages`: the pages and actions. `live`: the parts that update themselves.
//! * `bulk`: the bulk action under way.
//!
//! Pages are rendered by the server and need a script only for their live parts. No token is read:
//! the data of pages holds none.

mod address;
mod assets;
mod auth;
mod bulk;
mod bulk_run;
mod chart;
mod fields;
mod filter;
mod fleet_monitor;
mod fleet_snapshot;
mod format;
mod guard;
mod letters;
mod live;
mod page_context;
mod page_layout;
mod pages;
mod problem;
mod serve;
mod settings;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use evergrant_domain::ProviderId;
use evergrant_ports::{JobQueue, Store, StoreError};
use evergrant_provider::Provider;
use evergrant_runtime::process::ShutdownSignal;
use tokio::sync::Semaphore;

use auth::record::{self, LoginRecord};
use bulk::SharedBulk;
use fleet_monitor::{FleetMonitor, QUERY_TIMEOUT};
use fleet_snapshot::Part;
use letters::LetterCache;
use problem::Problem;

pub use auth::{
    AccessPolicy, ConsoleUser, ConsoleUsers, DoorError, OidcSetupError, OpenIdClient, UserName,
    UserRole, UsersError, UsersFile, oidc_of,
};
pub use serve::serve;
pub use settings::ConsoleSettings;

/// The most concurrent store queries of pages.
const QUESTIONS_MAX: usize = 16;

/// What the console needs.
pub struct ConsoleDeps {
    /// The store with the grants.
    pub store: Arc<dyn Store>,
    /// The queue with the jobs.
    pub queue: Arc<dyn JobQueue>,
    /// The providers of the settings.
    pub providers: Vec<Arc<Provider>>,
    /// The provider of documents that name none.
    pub default_provider: Option<ProviderId>,
    /// How long a job counts as under way.
    pub queued_for: Duration,
    /// Ends the console.
    pub shutdown: ShutdownSignal,
}

/// The shared state of all pages.
pub(crate) struct Web {
    store: Arc<dyn Store>,
    queue: Arc<dyn JobQueue>,
    providers: Vec<Arc<Provider>>,
    queued_for: Duration,
    shutdown: ShutdownSignal,
    door: AccessPolicy,
    watcher: Arc<FleetMonitor>,
    letters: Arc<LetterCache>,
    bulk: SharedBulk,
    record: LoginRecord,
    streams: Arc<Semaphore>,
    questions: Arc<Semaphore>,
}

impl Web {
    /// The console, and the task that writes its login record.
    pub(crate) fn new(deps: ConsoleDeps, door: AccessPolicy) -> (Arc<Self>, record::Writer) {
        let ConsoleDeps { store, queue, providers, default_provider, queued_for, shutdown } = deps;
        let (for_watcher, for_letters) = (Arc::clone(&store), Arc::clone(&store));
        let watcher =
            FleetMonitor::new(for_watcher, Arc::clone(&queue), &providers, default_provider);
        let letters = LetterCache::new(evergrant_operations::letters::LetterQueues {
            store: for_letters,
            queue: Arc::clone(&queue),
            providers: providers.iter().map(|provider| provider.id.clone()).collect(),
        });
        let (record, writer) = record::record(Arc::clone(&store));
        let web = Self {
            store,
            queue,
            providers,
            queued_for,
            shutdown,
            door,
            watcher: Arc::new(watcher),
            letters: Arc::new(letters),
            bulk: Arc::default(),
            record,
            streams: Arc::new(Semaphore::new(live::STREAMS_MAX)),
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
        };
        (Arc::new(web), writer)
    }

    /// Makes a store query for a page. A store that is known to be unavailable is not waited for.
    async fn ask<T, F>(&self, question: impl FnOnce(Arc<dyn Store>) -> F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        if let Part::Away { why, .. } = &self.watcher.known().store {
            return Err(Problem::store_away(why));
        }
        let turn = Arc::clone(&self.questions).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(QUERY_TIMEOUT, turn).await else {
            return Err(Problem::store_busy());
        };
        let question = question(Arc::clone(&self.store));
        // The query is not cancelled, which drivers handle badly. It counts until the store has
        // answered.
        let asking = tokio::spawn(async move {
            let _turn = turn;
            question.await
        });
        match tokio::time::timeout(QUERY_TIMEOUT, asking).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(_)) | Err(_) => Err(Problem::store_away("its answer takes too long")),
        }
    }

    /// What is unavailable, since when, and what that means for a page.
    fn alerts(&self) -> Vec<String> {
        let known = self.watcher.known();
        let mut alerts = Vec::new();
        if let Part::Away { since, why } = &known.store {
            alerts.push(format!(
                "The token store has not answered since {}. What is shown of grants, providers, workers \
                 and statistics is from before; searches and actions will fail. ({})",
                format::clock(*since),
                format::visible(why)
            ));
        }
        let away = match &known.queue {
            Part::Away { since, why } => Some((*since, why.clone())),
            Part::Works => self.letters.seen().away,
        };
        if let Some((since, why)) = away {
            alerts.push(format!(
                "The broker has not answered since {}. Dead letters and queues are shown as they were \
                 before; nothing can be redriven or discarded. Grants can still be looked at. ({})",
                format::clock(since),
                format::visible(&why)
            ));
        }
        alerts
    }
}

/// All pages.
pub(crate) fn router(web: Arc<Web>) -> Router {
    Router::new()
        .route("/", get(pages::overview::page))
        .route("/dead-letters", get(pages::dead_letters::page))
        .route("/dead-letters/show", get(pages::letter::page))
        .route("/dead-letters/confirm", get(pages::confirm::page))
        .route("/dead-letters/act", post(pages::bulk::act))
        .route("/dead-letters/cancel", post(pages::bulk::cancel))
        .route("/dead-letters/resume", post(pages::bulk::resume))
        .route("/dead-letters/bulk", get(pages::bulk::page))
        .route("/tokens", get(pages::tokens::page))
        .route("/tokens/show", get(pages::token::page))
        .route("/tokens/act", post(pages::act::token))
        .route("/providers", get(pages::providers::page))
        .route("/providers/act", post(pages::act::provider))
        .route("/workers", get(pages::workers::page))
        .route("/audit", get(pages::audit::page))
        .route("/live/overview", get(live::overview))
        .route("/live/bulk", get(live::bulk))
        .route("/login", get(auth::login::page).post(auth::login::log_in))
        .route(auth::oidc::BEGIN, get(auth::oidc_login::begin))
        .route(auth::oidc::CALLBACK, get(auth::oidc_login::finish))
        .route("/logout", post(auth::login::log_out))
        .route("/theme", post(pages::theme))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/assets/console.css", get(assets::style))
        .route("/assets/console.js", get(assets::script))
        .route("/assets/icon.svg", get(assets::icon))
        .fallback(pages::not_found)
        .layer(from_fn_with_state(Arc::clone(&web), guard::guard))
        .with_state(web)
}
