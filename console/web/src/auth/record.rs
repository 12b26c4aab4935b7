//! What the audit record has of logins and refusals. Whoever fails as often as possible must not fill it:
//! refusals are gathered, and those of a while are one entry for each kind.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_domain::audit::OperatorAction;
use evergrant_domain::printable::printable;
use evergrant_ports::Store;
use evergrant_runtime::process::ShutdownSignal;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep_until};

use super::network::{CUSTOMER_PREFIX, network_of};
use super::oidc::Person;
use super::session::Account;
use evergrant_operations::operator::{ActingOperator, ActionSubject};

/// How long refusals are gathered.
const GATHER_INTERVAL: Duration = Duration::from_secs(60);
/// Kinds of refusals of such a while that are told apart; more are counted.
const KINDS_MAX: usize = 1_000;
/// Those that have an entry of their own.
const ENTRIES_MAX: usize = 20;
/// The longest reason that is kept, in characters.
const WHY_MAX: usize = 200;
/// Logins and logouts that wait for the store.
const WAITING_MAX: usize = 1_024;

/// A login or a logout.
struct Note {
    who: String,
    action: OperatorAction,
    request: Value,
}

/// A refusal, and all that are like it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Refusal {
    action: OperatorAction,
    /// None is nobody who is known.
    who: Option<String>,
    /// An address, or the first one of a network.
    address: IpAddr,
    why: String,
}

/// How often each kind of refusal was since they were last written.
#[derive(Default)]
struct RefusalCounts {
    by_kind: BTreeMap<Refusal, u64>,
    /// Those beyond the kinds that are told apart.
    others: BTreeMap<OperatorAction, u64>,
}

impl RefusalCounts {
    fn add(&mut self, refusal: Refusal) {
        if self.by_kind.len() < KINDS_MAX || self.by_kind.contains_key(&refusal) {
            *self.by_kind.entry(refusal).or_default() += 1;
        } else {
            *self.others.entry(refusal.action).or_default() += 1;
        }
    }

    /// What has an entry of its own: those of known people first, then the most frequent ones. What is left is
    /// counted.
    fn into_entries(self) -> (Vec<(Refusal, u64)>, BTreeMap<OperatorAction, u64>) {
        let mut others = self.others;
        let mut kinds: Vec<(Refusal, u64)> = self.by_kind.into_iter().collect();
        kinds.sort_by_key(|(refusal, times)| (refusal.who.is_none(), Reverse(*times)));
        for (refusal, times) in kinds.split_off(kinds.len().min(ENTRIES_MAX)) {
            *others.entry(refusal.action).or_default() += times;
        }
        (kinds, others)
    }
}

/// Where logins and refusals are told.
pub(crate) struct LoginRecord {
    notes: mpsc::Sender<Note>,
    refusals: Arc<Mutex<RefusalCounts>>,
}

/// What writes them.
pub(crate) struct Writer {
    notes: mpsc::Receiver<Note>,
    refusals: Arc<Mutex<RefusalCounts>>,
    store: Arc<dyn Store>,
}

/// The record, and what writes it.
pub(crate) fn record(store: Arc<dyn Store>) -> (LoginRecord, Writer) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let refusals = Arc::<Mutex<RefusalCounts>>::default();
    let record = LoginRecord { notes: sender, refusals: Arc::clone(&refusals) };
    (record, Writer { notes: receiver, refusals, store })
}

impl LoginRecord {
    /// Who opens the printed address is the one who started the console, and is not told.
    pub(crate) fn log_in(&self, account: &Account, address: IpAddr) {
        let (who, request) = match account {
            Account::Local => return,
            Account::User { name, .. } => {
                (name.to_string(), json!({ "way": "password", "address": address }))
            }
            Account::OpenId(Person { name, subject, .. }) => {
                (name.clone(), json!({ "way": "openid", "subject": subject, "address": address }))
            }
        };
        self.note(Note { who, action: OperatorAction::Login, request });
    }

    pub(crate) fn log_out(&self, who: &str, address: IpAddr) {
        let request = json!({ "address": address });
        self.note(Note { who: who.to_owned(), action: OperatorAction::Logout, request });
    }

    /// A name that nobody has may be a password, so it is not told.
    pub(crate) fn refuse_login(&self, known: Option<&str>, address: IpAddr, why: &str) {
        self.refuse(OperatorAction::LoginRefused, known, address, why);
    }

    /// Somebody who may look wanted to act.
    pub(crate) fn refuse_action(&self, who: &str, address: IpAddr, path: &str) {
        self.refuse(OperatorAction::ActionRefused, Some(who), address, path);
    }

    fn refuse(&self, action: OperatorAction, who: Option<&str>, address: IpAddr, why: &str) {
        let why = printable(why).chars().take(WHY_MAX).collect();
        let (who, address) = (who.map(str::to_owned), network_of(address, CUSTOMER_PREFIX));
        let refusal = Refusal { action, who, address, why };
        lock(&self.refusals).add(refusal);
    }

    fn note(&self, note: Note) {
        if let Err(error) = self.notes.try_send(note) {
            let (TrySendError::Full(note) | TrySendError::Closed(note)) = error;
            tracing::warn!(who = note.who, action = %note.action, "the audit record does not have this");
        }
    }
}

impl Writer {
    /// Writes until the console ends, and then what is left.
    pub(crate) async fn run(mut self, shutdown: ShutdownSignal) {
        let mut ending = std::pin::pin!(shutdown.wait());
        let mut write_at = Instant::now() + GATHER_INTERVAL;
        loop {
            tokio::select! {
                Some(note) = self.notes.recv() => self.write_note(note).await,
                () = sleep_until(write_at) => {
                    self.write_refusals().await;
                    write_at = Instant::now() + GATHER_INTERVAL;
                }
                () = &mut ending => break,
            }
        }
        while let Ok(note) = self.notes.try_recv() {
            self.write_note(note).await;
        }
        self.write_refusals().await;
    }

    async fn write_note(&self, Note { who, action, request }: Note) {
        self.write(&who, action, request, 1, String::new()).await;
    }

    async fn write_refusals(&self) {
        let gathered = std::mem::take(&mut *lock(&self.refusals));
        let (kinds, others) = gathered.into_entries();
        for (Refusal { action, who, address, why }, times) in kinds {
            let who = who.as_deref().unwrap_or("unknown");
            self.write(who, action, json!({ "address": address }), times, why).await;
        }
        for (action, times) in others {
            self.write("unknown", action, Value::Null, times, "many more".to_owned()).await;
        }
    }

    async fn write(
        &self,
        who: &str,
        action: OperatorAction,
        request: Value,
        times: u64,
        detail: String,
    ) {
        let (store, who) = (Arc::clone(&self.store), who.to_owned());
        let operator = ActingOperator { store, who, why: String::new() };
        if let Err(error) = operator.note(ActionSubject::all(action, request), times, detail).await
        {
            let who = operator.who;
            tracing::warn!(who, %action, times, %error, "the audit record does not have this");
        }
    }
}

fn lock(refusals: &Mutex<RefusalCounts>) -> MutexGuard<'_, RefusalCounts> {
    refusals.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(who: Option<&str>, n: u32) -> Refusal {
        let address = IpAddr::V4(n.into());
        let (who, why) = (who.map(str::to_owned), "wrong".to_owned());
        Refusal { action: OperatorAction::LoginRefused, who, address, why }
    }

    #[test]
    fn a_flood_of_strangers_neither_fills_the_record_nor_hides_guesses_at_a_user() {
        let mut gathered = RefusalCounts::default();
        for n in 0..10_000 {
            gathered.add(refusal(None, n));
            gathered.add(refusal(None, n));
        }
        assert_eq!(gathered.by_kind.len(), KINDS_MAX);
        // Of the first thousand kinds one gives way to nobody; a user is among them.
        let mut gathered = RefusalCounts::default();
        gathered.add(refusal(Some("otto"), 1));
        for n in 0..10_000 {
            gathered.add(refusal(None, n));
            gathered.add(refusal(None, n));
        }
        let (entries, others) = gathered.into_entries();
        assert_eq!(entries.len(), ENTRIES_MAX);
        assert_eq!(entries[0], (refusal(Some("otto"), 1), 1));
        let told: u64 = entries.iter().map(|(_, times)| times).sum();
        assert_eq!(told + others[&OperatorAction::LoginRefused], 20_001);
    }
}
