//! A file with grants, dead letters and a history that are the same in every run.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::audit::{ActionIntent, ActionOutcome, ActionProgress, OperatorAction};
use evergrant_domain::heartbeat::{Heartbeat, LaneReport, ProcessRole};
use evergrant_domain::statistics::ProviderCounts;
use evergrant_domain::{
    ClaimedDocument, DeadLetter, DeadReason, DocumentId, DocumentWrite, FailureKind, Grant,
    GrantStatus, Job, LastError, Timestamp,
};
use evergrant_ports::{Commit, ImportDocument, JobQueue, Store};
use evergrant_runtime::config::Config as SimulatorSettings;
use evergrant_runtime::connect;
use evergrant_simulator::SimulatorConfig;
use evergrant_testkit::deployment::provider;
use evergrant_testkit::embedded::EmbeddedDeployment;
use serde_json::json;

/// A file with grants and dead letters.
pub(super) struct Scene {
    pub(super) evergrant: EmbeddedDeployment,
    store: Arc<dyn Store>,
}

/// Addresses and descriptions as a hostile user or provider may choose them.
const HOSTILE: &str = "<b>eve</b>\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\u{202e}@x";

impl Scene {
    pub(super) async fn new() -> Self {
        let evergrant = EmbeddedDeployment::new(SimulatorConfig::default()).await;
        let variables = evergrant.variables.iter();
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let settings = SimulatorSettings::from_parts(None, variables, &[]).expect("valid settings");
        let store = connect::store(&settings).await.expect("a store");
        let queue = connect::queue(&settings, "scene".to_owned()).expect("a queue");
        queue.prepare().await.expect("prepare the queue");
        let users = [("ann", "ann@x"), ("ben", "ben@x"), ("cy", "ann.cy@x"), ("eve", HOSTILE)];
        let document = |(id, (user, email)): (i64, (&str, &str))| {
            let json = json!({
                "_id": id, "userId": user, "email": email, "refresh_token": format!("s3cret-{id}"),
            });
            ImportDocument(json.as_object().expect("an object").clone())
        };
        let documents = (1..).zip(users).map(document).collect();
        store.import(documents).await.expect("import");
        store.adopt().await.expect("adopt");
        let scene = Self { evergrant, store };
        scene.dies(&*queue, 1, DeadReason::GrantDead, "the grant is revoked").await;
        scene.dies(&*queue, 2, DeadReason::AttemptsExhausted, "no answer").await;
        scene.dies(&*queue, 4, DeadReason::GrantDead, HOSTILE).await;
        let gone = letter(&job(404), DeadReason::AttemptsExhausted, "no answer", scene.now().await);
        queue.bury(&gone).await.expect("a dead letter");
        scene
    }

    async fn now(&self) -> Timestamp {
        self.store.now().await.expect("the time")
    }

    /// Ends a grant, with a dead letter.
    async fn dies(&self, queue: &dyn JobQueue, id: i64, reason: DeadReason, description: &str) {
        let ids = [DocumentId::Integer(id)];
        let claimed = self.store.claim(&ids, "o", Duration::from_secs(30)).await.expect("a claim");
        let ClaimedDocument::Present { grant, .. } = &claimed.rows[0] else { panic!("no grant") };
        let letter = letter(&job(id), reason, description, claimed.now);
        let commit = Commit::of_grant(grant, "o", ended(grant, &letter));
        self.store.commit(&[commit]).await.expect("a commit");
        queue.bury(&letter).await.expect("a dead letter");
    }

    /// Adds processes' reports and operators' actions.
    pub(super) async fn has_lived(&self) {
        let store = Arc::clone(&self.store);
        let (told, first) = tokio::sync::oneshot::channel();
        let mut told = Some(told);
        // They stay alive, however long the commands take.
        tokio::spawn(async move {
            loop {
                store.beat(&beat("w-1", ProcessRole::Worker, 90)).await.expect("a beat");
                store.beat(&beat("p-1", ProcessRole::Producer, 0)).await.expect("a beat");
                if let Some(told) = told.take() {
                    let _ = told.send(());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        first.await.expect("the first beats");
        let counts = ProviderCounts {
            due: 100,
            refreshed: 90,
            retried: 5,
            throttled: 3,
            dead: [(DeadReason::GrantDead, 2), (DeadReason::AttemptsExhausted, 3)].into(),
            ..ProviderCounts::default()
        };
        self.store.add_statistics(&[(provider(), counts)]).await.expect("statistics");
        let intent = ActionIntent {
            who: "ann@host".to_owned(),
            action: OperatorAction::Redrive,
            provider: provider().into(),
            document: None,
            request: json!({ "kind": "redrive", "filter": { "reason": "grant_dead" } }),
            why: format!("because of {HOSTILE}"),
        };
        let entry = self.store.begin_audit(intent).await.expect("an entry");
        let progress = ActionProgress {
            outcome: ActionOutcome::Partial,
            matched: Some(80),
            done: 78,
            left: 2,
            detail: "2 stay".to_owned(),
        };
        self.store.tell_audit(&entry.id, &progress).await.expect("what came of it");
    }
}

fn beat(name: &str, role: ProcessRole, refreshed: u64) -> Heartbeat {
    let lane = LaneReport {
        provider: provider(),
        in_flight: 4,
        refreshed,
        failed: 10,
        refreshed_lately: refreshed,
    };
    Heartbeat {
        name: name.to_owned(),
        role,
        version: "1.2.3".to_owned(),
        host: "host".to_owned(),
        pid: 4_711,
        started_at: Timestamp::from_unix_ms(1_700_000_000_000),
        beat_at: Timestamp::default(),
        leads: role == ProcessRole::Producer,
        lanes: if role == ProcessRole::Worker { vec![lane] } else { Vec::new() },
        problems: Vec::new(),
    }
}

fn job(id: i64) -> Job {
    Job::new(provider(), DocumentId::Integer(id), 0, Timestamp::from_unix_ms(1_700_000_000_000))
}

fn letter(job: &Job, reason: DeadReason, description: &str, now: Timestamp) -> DeadLetter {
    let error = LastError {
        reason: FailureKind::GrantDead,
        http_status: Some(400),
        code: Some("invalid_grant".to_owned()),
        description: Some(description.to_owned()),
        at: now,
    };
    DeadLetter::of_job(job, reason, 3, now, &error, "w-1")
}

fn ended(grant: &Grant, letter: &DeadLetter) -> DocumentWrite {
    let status = match letter.reason {
        DeadReason::GrantDead => GrantStatus::NeedsReauth,
        _ => GrantStatus::Failed,
    };
    DocumentWrite::End {
        status,
        attempts: letter.attempts,
        failing_since: letter.first_failed_at,
        last_error: LastError {
            reason: FailureKind::GrantDead,
            http_status: letter.http_status,
            code: letter.code.clone(),
            description: letter.description.clone(),
            at: letter.last_failed_at,
        },
        dead_fingerprint: Some(evergrant_domain::fingerprint::fingerprint(&grant.refresh_token)),
    }
}

/// The text with varying parts replaced by others of the same length: times, audit ids, ages; and
/// the user.
pub(super) fn normal(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = shaped(rest, TIME) {
            normal.push_str(TIME);
            rest = after;
        } else if let Some(after) = audit_id(rest) {
            normal.push_str("<the-entry-its-id->");
            rest = after;
        } else {
            normal.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    (1..10).fold(normal, |text, age| text.replace(&format!("{age} s ago"), "0 s ago"))
}

const TIME: &str = "2000-00-00T00:00:00.000Z";

/// The rest of the text after a part of this shape, in which 0 stands for any digit and 2 for the 2
/// of this millennium.
fn shaped<'a>(text: &'a str, shape: &str) -> Option<&'a str> {
    let begins = text.as_bytes().get(..shape.len())?;
    let fits = begins.iter().zip(shape.as_bytes()).all(|(found, wanted)| match wanted {
        b'0' => found.is_ascii_digit(),
        wanted => found == wanted,
    });
    fits.then(|| &text[shape.len()..])
}

/// Nineteen hexadecimal digits that begin as ids do in this century.
fn audit_id(text: &str) -> Option<&str> {
    let begins = text.as_bytes().get(..19)?;
    let is_id = text.starts_with('1') && begins.iter().all(u8::is_ascii_hexdigit);
    let ends = !text.as_bytes().get(19).is_some_and(u8::is_ascii_hexdigit);
    (is_id && ends).then(|| &text[19..])
}
