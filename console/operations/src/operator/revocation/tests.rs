//! Revocations with the store in memory and an address that says yes.

use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};

use evergrant_domain::Timestamp;
use evergrant_memory::{MemoryClock, MemoryStore};
use evergrant_ports::{DueStore, GrantAdmin, ImportDocument, LeaseStore, TransferStore};
use evergrant_runtime::config::Config;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const LEASE: Duration = Duration::from_secs(60);

/// Two documents with one refresh token.
struct Scene {
    operator: ActingOperator,
    store: Arc<MemoryStore>,
    endpoint: RevocationEndpoint,
    sent: Arc<AtomicUsize>,
}

const ONE: DocumentId = DocumentId::Integer(1);
const OTHER: DocumentId = DocumentId::Integer(2);

impl Scene {
    async fn new() -> Self {
        let clock = MemoryClock::starting_at(Timestamp::from_unix_ms(1_700_000_000_000));
        let store = Arc::new(MemoryStore::new(clock, "p".parse().ok()));
        for id in [1, 2] {
            let json = json!({ "_id": id, "userId": format!("u{id}"), "refresh_token": "R1" });
            let document = ImportDocument(json.as_object().unwrap().clone());
            store.import(vec![document]).await.unwrap();
        }
        store.adopt().await.unwrap();
        let (url, sent) = address().await;
        let endpoint = RevocationEndpoint::start(provider(&url), store.clone()).unwrap();
        let operator = ActingOperator::of_this_terminal(store.clone());
        Self { operator, store, endpoint, sent }
    }

    async fn revoke(&self, id: &DocumentId) -> RevocationResult {
        self.operator.revoke_grant(&self.endpoint, id).await.unwrap()
    }

    async fn status(&self, id: &DocumentId) -> Option<GrantStatus> {
        self.store.get(id).await.unwrap().and_then(|view| view.status)
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// A worker takes it up.
    async fn claim(&self, id: &DocumentId) {
        self.store.claim(std::slice::from_ref(id), "a worker", LEASE).await.unwrap();
    }

    async fn release(&self, id: &DocumentId) {
        self.store.release(std::slice::from_ref(id), "a worker").await.unwrap();
    }
}

fn provider(url: &str) -> Provider {
    let variables = [
        ("PROVIDERS__P__CLIENT_ID", "c"),
        ("PROVIDERS__P__CLIENT_SECRET", "s"),
        ("PROVIDERS__P__TOKEN_URL", url),
        ("PROVIDERS__P__REVOCATION_URL", url),
        ("HTTP__PROXY", "none"),
    ];
    let variables = variables
        .map(|(name, value)| (OsString::from(format!("EVERGRANT_{name}")), OsString::from(value)));
    Config::from_parts(None, variables, &[]).unwrap().providers().unwrap().remove(0)
}

/// An address that answers everything with 200, and how many requests came.
async fn address() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/revoke", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            count.fetch_add(1, Ordering::SeqCst);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    (url, sent)
}

fn kept(result: RevocationResult) -> String {
    let RevocationResult::Kept(why) = result else { panic!("{result:?}") };
    why
}

#[tokio::test]
async fn the_token_that_another_document_had_first_is_not_revoked() {
    let scene = Scene::new().await;
    scene.claim(&ONE).await;
    scene.release(&ONE).await;
    let why = kept(scene.revoke(&OTHER).await);
    assert!(why.contains("the document 1 had its token first"), "{why}");
    assert_eq!(scene.status(&OTHER).await, Some(GrantStatus::Active));

    scene.store.edit(&OTHER, "evergrant.status", Some(json!("failed"))).unwrap();
    let error = json!({ "reason": "twin", "at": { "$date": "2026-01-01T00:00:00Z" } });
    scene.store.edit(&OTHER, "evergrant.last_error", Some(error)).unwrap();
    assert_eq!(kept(scene.revoke(&OTHER).await), TWIN);
    assert_eq!(scene.sent(), 0);
}

#[tokio::test]
async fn a_paused_grant_is_revoked_if_its_token_is_known_to_be_its_own() {
    let scene = Scene::new().await;
    scene.store.change_grant(&OTHER, GrantChange::Pause).await.unwrap();
    assert_eq!(kept(scene.revoke(&OTHER).await), NEVER_REFRESHED);
    assert_eq!(scene.sent(), 0);
    assert_eq!(scene.status(&OTHER).await, Some(GrantStatus::Paused));

    scene.store.edit(&OTHER, "evergrant.generation", Some(json!(1))).unwrap();
    assert_eq!(scene.revoke(&OTHER).await, RevocationResult::Forgotten);
    assert_eq!((scene.sent(), scene.status(&OTHER).await), (1, None));
}

#[tokio::test]
async fn an_active_grant_is_revoked_and_one_under_way_is_not() {
    let scene = Scene::new().await;
    scene.claim(&ONE).await;
    assert_eq!(scene.revoke(&ONE).await, RevocationResult::UnderWay);
    assert_eq!(scene.sent(), 0);
    scene.release(&ONE).await;
    assert_eq!(scene.revoke(&ONE).await, RevocationResult::Forgotten);
    assert_eq!(scene.sent(), 1);
}

#[tokio::test]
async fn what_a_worker_has_withheld_meanwhile_waits_for_its_answer() {
    let scene = Scene::new().await;
    scene.store.edit(&ONE, "evergrant.status", Some(json!("failed"))).unwrap();
    let error =
        json!({ "reason": "uncommitted_answer", "at": { "$date": "2026-01-01T00:00:00Z" } });
    scene.store.edit(&ONE, "evergrant.last_error", Some(error)).unwrap();
    let revocable = scene.endpoint.revocable(scene.store.look(&ONE));
    assert_eq!(revocable.err(), Some(RevocationResult::WaitsForAnswer));
}

#[tokio::test]
async fn the_lease_of_a_dead_worker_is_left_to_tell_of_it() {
    let scene = Scene::new().await;
    scene.claim(&ONE).await;
    let mut row = scene.store.look(&ONE);
    let ClaimedDocument::Present { lease: Some(lease), owned, .. } = &mut row else {
        panic!("{row:?}")
    };
    (lease.taken_over, *owned) = (Some(evergrant_domain::PreviousOwner::Unknown), true);
    assert_eq!(scene.endpoint.revocable(row).err(), Some(RevocationResult::UnderWay));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_paused_while_it_waits_for_the_budget() {
    let scene = Scene::new().await;
    let id = scene.endpoint.provider();
    evergrant_budget::change_provider(&*scene.store, id, |state, now| {
        state.pause(None, "a test".to_owned(), now);
    })
    .await
    .unwrap();
    let given_up = tokio::time::timeout(Duration::from_secs(5), scene.revoke(&ONE)).await;
    assert!(given_up.is_err());
    assert_eq!(scene.status(&ONE).await, Some(GrantStatus::Active));
    assert_eq!(kept(scene.revoke(&ONE).await), NO_PERMIT);
    assert_eq!(scene.status(&ONE).await, Some(GrantStatus::Active));
}

#[test]
fn what_is_revoked_is_told_as_revoked_though_the_store_fails() {
    let operation = "change_grant";
    let failed = StoreError::Unavailable { operation, reason: "it is away".to_owned() };
    let result = forgotten(Err(failed));
    let RevocationResult::Revoked(why) = &result else { panic!("{result:?}") };
    assert!(why.contains("it is away"), "{why}");
    assert_eq!(told(&result).0, ActionOutcome::Partial);
    assert_eq!(forgotten(Ok(ChangeResult::Absent)), RevocationResult::Forgotten);
    assert!(matches!(forgotten(Ok(ChangeResult::UnderWay)), RevocationResult::Revoked(_)));
}
