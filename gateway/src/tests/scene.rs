//! A gateway with one caller and one provider that counts its requests.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use evergrant_budget::{BudgetSettings, SharedBudget};
use evergrant_domain::api_key::{ApiKey, KeyScope, KeySecret, key_hash, key_text};
use evergrant_domain::classify::{ExchangeResult, HttpAnswer};
use evergrant_domain::{DocumentFields, DocumentId, GrantStatus, Timestamp};
use evergrant_memory::{MemoryBroker, MemoryClock, MemoryQueueSettings, MemoryStore};
use evergrant_ports::{DueStore, ImportDocument, KeyStore, Store, TransferStore};
use evergrant_provider::TokenEndpoint;
use evergrant_runtime::config::Config;
use evergrant_runtime::process_reporter::ProcessReporter;
use evergrant_telemetry::{HealthChecks, ProcessMetrics};
use evergrant_worker::{OnDemandRefresher, ProviderDeps, SteadyClock, WorkerDeps};
use http::{HeaderMap, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{GatewayDeps, WaitLimits, router};

pub(super) const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
/// How long the provider takes.
pub(super) const ANSWER_DELAY: Duration = Duration::from_millis(100);

/// A provider that gives out numbered tokens and refuses a refresh token that it has replaced.
#[derive(Default)]
pub(super) struct FakeProvider {
    pub(super) requests: AtomicU32,
    /// What it answers in place of tokens: a status and a body.
    pub(super) refusal: Mutex<Option<(u16, &'static str)>>,
    spent: Mutex<Vec<String>>,
}

#[async_trait]
impl TokenEndpoint for FakeProvider {
    async fn exchange(&self, token: &SecretString, _: &DocumentFields) -> ExchangeResult {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(ANSWER_DELAY).await;
        let refusal = *self.refusal.lock().unwrap();
        let refusal = refusal.or_else(|| {
            let mut spent = self.spent.lock().unwrap();
            let is_spent = spent.iter().any(|it| it == token.expose_secret());
            spent.push(token.expose_secret().to_owned());
            is_spent.then_some((400, r#"{"error":"invalid_grant"}"#))
        });
        let (status, body) = match refusal {
            Some((status, body)) => (status, body.to_owned()),
            None => {
                let tokens = json!({
                    "access_token": format!("access-{number}"),
                    "refresh_token": format!("refresh-{number}"),
                    "expires_in": 3600,
                });
                (200, tokens.to_string())
            }
        };
        let body = body.into_bytes();
        ExchangeResult::Answered(HttpAnswer { status, retry_after_ms: None, body })
    }
}

/// A gateway, and what it is made of.
pub(super) struct Scene {
    pub(super) router: Router,
    pub(super) store: Arc<MemoryStore>,
    pub(super) provider: Arc<FakeProvider>,
    pub(super) key: String,
}

/// An answer as a caller sees it.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// A header's text.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Scene {
    /// A gateway with one grant, `alice`'s, whose token is valid for half an hour.
    pub(super) async fn new() -> Self {
        Self::beside(Arc::new(MemoryStore::new(MemoryClock::starting_at(NOW), "p".parse().ok())))
            .await
    }

    /// The same over a store that is there.
    pub(super) async fn beside(store: Arc<MemoryStore>) -> Self {
        let scene = Self::replica(store, Arc::default()).await;
        scene.add_grant("alice", Duration::from_secs(1_800)).await;
        scene
    }

    /// Another replica of a gateway.
    pub(super) async fn replica(store: Arc<MemoryStore>, provider: Arc<FakeProvider>) -> Self {
        let variables = [
            ("TOKEN_URL", "http://localhost/token"),
            ("CLIENT_ID", "c"),
            ("CLIENT_SECRET", "s"),
            ("LIMITS", "[]"),
        ];
        let variables = variables
            .map(|(name, value)| (format!("EVERGRANT_PROVIDERS__P__{name}").into(), value.into()));
        let config = Config::from_parts(None, variables, &[]).unwrap();
        let settings = Arc::new(config.providers().unwrap().remove(0));
        let budget = BudgetSettings {
            provider: settings.id.clone(),
            limits: settings.limits.clone(),
            client: settings.fingerprint(),
            metrics: ProcessMetrics::default(),
        };
        let broker = MemoryQueueSettings {
            providers: vec![settings.id.clone()],
            shards: 1,
            ladder: settings.policy.ladder.clone(),
        };
        let broker = MemoryBroker::new(broker, MemoryClock::starting_at(NOW));
        let name = format!("gateway-{:p}", Arc::as_ptr(&settings));
        let refresher = OnDemandRefresher::start(WorkerDeps {
            store: store.clone(),
            election: store.clone(),
            queue: Arc::new(broker.connect()),
            providers: vec![ProviderDeps {
                provider: settings,
                endpoint: provider.clone(),
                budget: Arc::new(SharedBudget::start(store.clone(), budget)),
            }],
            rescue: None,
            settings: config.section().unwrap(),
            name,
            clock: SteadyClock::default(),
            metrics: ProcessMetrics::default(),
            health: HealthChecks::default(),
            reports: ProcessReporter::default(),
        });
        let second = Duration::from_secs(1);
        let deps = GatewayDeps {
            store: store.clone() as Arc<dyn Store>,
            wait: WaitLimits { usual: 10 * second, max: 30 * second },
            sign_in: vec![("p".parse().unwrap(), "https://p.example/sign-in".to_owned())],
            metrics: ProcessMetrics::default(),
        };
        let router = router(deps, Arc::new(refresher));
        let key = key_text("test", "0123").unwrap();
        let scene = Self { router, store, provider, key };
        scene.set_key(|_| {}).await;
        scene
    }

    /// Writes the caller's key, changed.
    pub(super) async fn set_key(&self, change: impl FnOnce(&mut ApiKey)) {
        let secret = KeySecret { hash: key_hash(&self.key), created_at: NOW, expires_at: None };
        let mut key = ApiKey::new("test".to_owned(), secret, KeyScope::ALL.to_vec());
        change(&mut key);
        self.store.remove_api_key("test").await.unwrap();
        assert!(self.store.add_api_key(&key).await.unwrap());
    }

    /// A document of a user, with an access token that is valid for so long.
    pub(super) async fn add_grant(&self, user: &str, valid_for: Duration) {
        let document = json!({
            "_id": user, "userId": user, "email": format!("{user}@example.com"),
            "access_token": format!("access-of-{user}"), "refresh_token": format!("refresh-of-{user}"),
        });
        let Value::Object(document) = document else { unreachable!("it is an object") };
        self.store.import(vec![ImportDocument(document)]).await.unwrap();
        self.store.adopt().await.unwrap();
        let expires =
            json!({ "$date": { "$numberLong": NOW.plus(valid_for).unix_ms().to_string() } });
        let since = NOW.plus(valid_for).minus(Duration::from_secs(3_600));
        let refreshed = json!({ "$date": { "$numberLong": since.unix_ms().to_string() } });
        self.edit(user, "evergrant.access_expires_at", expires);
        self.edit(user, "evergrant.refreshed_at", refreshed);
    }

    /// Changes a document.
    pub(super) fn edit(&self, id: &str, path: &str, value: Value) {
        let id = DocumentId::String(id.to_owned());
        assert!(self.store.edit(&id, path, Some(value)).unwrap(), "no document {id}");
    }

    /// Puts a grant into a status.
    pub(super) fn set_status(&self, id: &str, status: GrantStatus) {
        self.edit(id, "evergrant.status", json!(status.as_str()));
    }

    /// Asks with the caller's key.
    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    /// Asks with the caller's key and these headers.
    pub(super) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let authorization = format!("Bearer {}", self.key);
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", authorization);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Asks with nothing but what the request has.
    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Requests that the provider has had.
    pub(super) fn requests(&self) -> u32 {
        self.provider.requests.load(Ordering::SeqCst)
    }
}
