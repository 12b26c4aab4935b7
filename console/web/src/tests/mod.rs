//! The console in process, with the adapters in memory.

mod access_policy;
mod actions;
mod away;
mod browser;
mod contrast;
mod escapes;
mod openid;
mod openid_provider;
mod strangers;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evergrant_domain::ladder::Ladder;
use evergrant_domain::{DeadLetter, DeadReason, DocumentId, ProviderId};
use evergrant_memory::{MemoryBroker, MemoryClock, MemoryQueue, MemoryQueueSettings, MemoryStore};
use evergrant_ports::{
    ImportDocument, JobQueue, OperationsLog, TransferStore, WorkQueue, wall_clock,
};
use evergrant_runtime::config::Config;
use evergrant_runtime::process::ShutdownSignal;
use serde_json::{Value, json};

use super::auth::AccessPolicy;
use super::auth::UsersFile;
use super::auth::record::Writer;
use super::auth::users::tests::cheap_line;
use super::{ConsoleDeps, UserRole, Web};

/// All pages. Pages of one thing are requested for a missing one.
const PAGES: [&str; 10] = [
    "/",
    "/dead-letters",
    "/dead-letters/show?provider=p&key=none",
    "/dead-letters/confirm?do=redrive-all",
    "/dead-letters/bulk",
    "/tokens",
    "/tokens/show?id=nobody",
    "/providers",
    "/workers",
    "/audit",
];
/// All addresses of actions, with fields that would do something.
const ACTIONS: [(&str, &[(&str, &str)]); 5] = [
    ("/dead-letters/act", &[("do", "redrive"), ("why", "a test")]),
    ("/dead-letters/resume", &[("id", "some entry")]),
    ("/dead-letters/cancel", &[]),
    ("/tokens/act", &[("do", "refresh"), ("id", "alice")]),
    ("/providers/act", &[("do", "pause"), ("provider", "p"), ("why", "a test")]),
];
const LIVE: [&str; 2] = ["/live/overview", "/live/bulk"];

const PASSWORD: &str = "correct horse battery";

/// The console and its servers.
struct Console {
    web: Arc<Web>,
    store: Arc<MemoryStore>,
    queue: MemoryQueue,
    writer: Mutex<Option<Writer>>,
    _folder: tempfile::TempDir,
}

fn provider() -> ProviderId {
    "p".parse().unwrap()
}

impl Console {
    /// With two users: vera, a viewer, and otto, an operator.
    fn with_login() -> Self {
        Self::with_settings(&[])
    }

    /// The same, with more settings.
    fn with_settings(more: &[(&str, &str)]) -> Self {
        Self::new(true, &[provider()], more)
    }

    /// Without users, for this machine only.
    fn local() -> Self {
        Self::new(false, &[provider()], &[])
    }

    fn new(login: bool, queues: &[ProviderId], more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        write_users(&users, &[("vera", UserRole::Viewer), ("otto", UserRole::Operator)]);
        let mut variables = vec![
            ("PROVIDERS__P__TOKEN_URL", "https://provider.example/token"),
            ("PROVIDERS__P__CLIENT_ID", "client"),
            ("PROVIDERS__P__CLIENT_SECRET", "SECRET-client"),
            ("PROVIDERS__P__LIMITS", r#"["10/s"]"#),
        ];
        if login {
            variables.push(("CONSOLE__USERS_FILE", users.to_str().unwrap()));
        }
        let variables = variables
            .into_iter()
            .chain(more.iter().copied())
            .map(|(name, value)| (format!("EVERGRANT_{name}").into(), value.into()));
        let config = Config::from_parts(None, variables, &[]).unwrap();
        // Ahead, so that no letter seems to be later than the count.
        let ahead = wall_clock().plus(Duration::from_secs(1));
        let clock = MemoryClock::starting_at(ahead);
        let store = Arc::new(MemoryStore::new(clock, Some(provider())));
        let settings = MemoryQueueSettings {
            providers: queues.to_vec(),
            shards: 1,
            ladder: Ladder::new(vec![Duration::from_secs(1)]).unwrap(),
        };
        let queue = MemoryBroker::new(settings, clock).connect();
        let deps = ConsoleDeps {
            store: store.clone(),
            queue: Arc::new(queue.clone()),
            providers: config.providers().unwrap().into_iter().map(Arc::new).collect(),
            default_provider: Some(provider()),
            queued_for: Duration::from_secs(3_600),
            shutdown: ShutdownSignal::by_hand(),
        };
        let (web, writer) =
            Web::new(deps, AccessPolicy::new(&config.section().unwrap(), "me").unwrap());
        Self { web, store, queue, writer: Mutex::new(Some(writer)), _folder: folder }
    }

    fn users_file(&self) -> std::path::PathBuf {
        self._folder.path().join("users")
    }

    /// Imports documents.
    async fn import(&self, documents: Vec<Value>) {
        let documents = documents.into_iter().map(|document| match document {
            Value::Object(fields) => ImportDocument(fields),
            _ => panic!("no document"),
        });
        self.store.import(documents.collect()).await.unwrap();
    }

    /// A document whose grant has failed, with its dead letter.
    async fn bury(&self, id: &str, reason: DeadReason) {
        self.import(vec![json!({
            "_id": id, "userId": format!("user-{id}"), "email": format!("{id}@example.com"),
            "access_token": "SECRET-access", "refresh_token": "SECRET-refresh",
            "evergrant": { "provider": "p", "status": "failed", "generation": 1, "attempts": 3,
                "next_refresh_at": { "$date": "2026-01-01T00:00:00Z" } }
        })])
        .await;
        self.queue.bury(&letter(Some(DocumentId::String(id.to_owned())), reason)).await.unwrap();
    }

    /// This many of them, each after all its attempts, read into the snapshot.
    async fn with_exhausted(count: u32) -> Self {
        let console = Self::local();
        for n in 0..count {
            console.bury(&format!("a{n}"), DeadReason::AttemptsExhausted).await;
        }
        console.look().await;
        console
    }

    /// Reads the state, as the background tasks do.
    async fn look(&self) {
        self.web.watcher.look().await;
        self.web.letters.look().await;
    }

    async fn audit(&self) -> Vec<evergrant_domain::audit::AuditEntry> {
        let all = evergrant_domain::audit::AuditFilter { limit: 100, ..Default::default() };
        self.store.audit(&all).await.unwrap()
    }

    /// The audit record with the logins and refusals so far. They are written once.
    async fn audit_with_logins(&self) -> Vec<evergrant_domain::audit::AuditEntry> {
        let writer = self.writer.lock().unwrap().take();
        let ended = ShutdownSignal::by_hand();
        ended.begin();
        writer.expect("they are written once").run(ended).await;
        self.audit().await
    }

    async fn dead(&self) -> u64 {
        self.queue.dead_letters(&provider()).await.unwrap().cutoff()
    }
}

fn write_users(path: &Path, users: &[(&str, UserRole)]) {
    use std::os::unix::fs::PermissionsExt;
    let lines: String =
        users.iter().map(|(name, role)| cheap_line(name, *role, PASSWORD)).collect();
    std::fs::write(path, lines).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

fn letter(id: Option<DocumentId>, reason: DeadReason) -> DeadLetter {
    let at = wall_clock();
    DeadLetter {
        body: b"SECRET-body".to_vec(),
        provider: provider(),
        id,
        reason,
        http_status: Some(500),
        code: Some("server_error".to_owned()),
        description: Some("it went wrong".to_owned()),
        attempts: 3,
        first_failed_at: at,
        last_failed_at: at,
        redrive_count: 0,
        worker: Some("worker-1".to_owned()),
    }
}
