//! What the audit record has of logins and refusals. Whoever fails as often as possible must not fill it:
//! refusals are gathered, and those of a while are one entry for each kind.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use evergrant_shared::domain::audit::{Action, Intent, Outcome, Progress};
use evergrant_shared::operators::OperatorStore;
use evergrant_shared::ports::StoreError;
use evergrant_shared::process::Shutdown;
use futures::future::OptionFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How long refusals are gathered.
const GATHERED_FOR: Duration = Duration::from_secs(10);
/// Kinds of refusals of such a while that have an entry of their own.
const KINDS_MAX: usize = 20;
/// Events that wait for the store.
const WAITING_MAX: usize = 1_024;

/// How somebody has logged in.
pub(in crate::web) enum Way<'a> {
    Password,
    /// By the OpenID provider, which calls that one so for ever.
    OpenId {
        subject: &'a str,
    },
}

/// Something that the audit record is to have.
enum Event {
    /// As it is, at once.
    Note { who: String, action: Action, request: Value },
    /// With others like it.
    Refusal(Refusal),
}

/// A refusal, and all that are like it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Refusal {
    action: Action,
    who: String,
    address: IpAddr,
    why: String,
}

/// Where logins and refusals are told.
pub(in crate::web) struct LoginRecord(mpsc::Sender<Event>);

/// What writes them.
pub(crate) struct Writer {
    events: mpsc::Receiver<Event>,
    store: Arc<dyn OperatorStore>,
    /// How often each kind of refusal was since they were last written.
    gathered: BTreeMap<Refusal, u64>,
    /// When they are written.
    write_at: Option<Instant>,
}

/// The record, and what writes it.
pub(in crate::web) fn record(store: Arc<dyn OperatorStore>) -> (LoginRecord, Writer) {
    let (sender, events) = mpsc::channel(WAITING_MAX);
    (LoginRecord(sender), Writer { events, store, gathered: BTreeMap::new(), write_at: None })
}

impl LoginRecord {
    pub(in crate::web) fn log_in(&self, who: &str, way: Way<'_>, address: IpAddr) {
        let request = match way {
            Way::Password => json!({ "way": "password", "address": address }),
            Way::OpenId { subject } => {
                json!({ "way": "openid", "subject": subject, "address": address })
            }
        };
        self.tell(Event::Note { who: who.to_owned(), action: Action::Login, request });
    }

    pub(in crate::web) fn log_out(&self, who: &str, address: IpAddr) {
        let request = json!({ "address": address });
        self.tell(Event::Note { who: who.to_owned(), action: Action::Logout, request });
    }

    /// A name that nobody has may be a password, so it is not told.
    pub(in crate::web) fn refuse_login(&self, known: Option<&str>, address: IpAddr, why: &str) {
        self.refuse(Action::LoginRefused, known.unwrap_or("unknown"), address, why);
    }

    /// Somebody who may look wanted to act.
    pub(in crate::web) fn refuse_action(&self, who: &str, address: IpAddr, path: &str) {
        self.refuse(Action::ActionRefused, who, address, path);
    }

    fn refuse(&self, action: Action, who: &str, address: IpAddr, why: &str) {
        let (who, why) = (who.to_owned(), why.to_owned());
        self.tell(Event::Refusal(Refusal { action, who, address, why }));
    }

    fn tell(&self, event: Event) {
        if self.0.try_send(event).is_err() {
            tracing::warn!("the audit record does not keep up with logins: one is missing there");
        }
    }
}

impl Writer {
    /// Writes until the console ends, and then what is left.
    pub(in crate::web) async fn run(mut self, shutdown: Shutdown) {
        let mut ending = std::pin::pin!(shutdown.wait());
        loop {
            let due = OptionFuture::from(self.write_at.map(sleep_until));
            tokio::select! {
                Some(event) = self.events.recv() => self.take(event).await,
                Some(()) = due => self.write_refusals().await,
                () = &mut ending => break,
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.take(event).await;
        }
        self.write_refusals().await;
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Note { who, action, request } => {
                self.write(&who, action, request, 1, String::new()).await;
            }
            Event::Refusal(refusal) => {
                *self.gathered.entry(refusal).or_default() += 1;
                self.write_at.get_or_insert_with(|| Instant::now() + GATHERED_FOR);
            }
        }
    }

    /// The most frequent kinds, and in one more entry for each action what is left.
    async fn write_refusals(&mut self) {
        self.write_at = None;
        let mut kinds: Vec<(Refusal, u64)> =
            std::mem::take(&mut self.gathered).into_iter().collect();
        kinds.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        let rest = kinds.split_off(kinds.len().min(KINDS_MAX));
        for (Refusal { action, who, address, why }, times) in kinds {
            self.write(&who, action, json!({ "address": address }), times, why).await;
        }
        for action in [Action::LoginRefused, Action::ActionRefused] {
            let of = rest.iter().filter(|(refusal, _)| refusal.action == action);
            let times = of.clone().map(|(_, times)| times).sum();
            let kinds = of.count();
            if kinds > 0 {
                let request = json!({ "kinds": kinds });
                self.write("unknown", action, request, times, "many at once".to_owned()).await;
            }
        }
    }

    async fn write(&self, who: &str, action: Action, request: Value, times: u64, why: String) {
        let intent = Intent {
            who: who.to_owned(),
            action,
            provider: None,
            document: None,
            request,
            why: String::new(),
        };
        let outcome = Outcome::Done;
        let progress =
            Progress { outcome, matched: Some(times), done: times, left: 0, detail: why };
        if let Err(error) = note(&*self.store, intent, &progress).await {
            tracing::warn!(who, %action, times, %error, "the audit record does not have this");
        }
    }
}

/// Notes what is done already.
async fn note(
    store: &dyn OperatorStore,
    intent: Intent,
    progress: &Progress,
) -> Result<(), StoreError> {
    let entry = store.begin_audit(intent).await?;
    store.tell_audit(&entry.id, progress).await
}
