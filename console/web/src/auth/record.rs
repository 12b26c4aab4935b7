//! Logins and refusals in the audit record. Failing often must not fill the record, so refusals are
//! gathered, and those of an interval are one entry for each kind.

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

/// The interval over which refusals are gathered.
const GATHER_INTERVAL: Duration = Duration::from_secs(60);
/// Kinds of refusals in an interval that are distinguished; further ones are only counted.
const KINDS_MAX: usize = 1_000;
/// Kinds that get an entry of their own.
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

/// A kind of refusal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Refusal {
    action: OperatorAction,
    /// None if the user is unknown.
    who: Option<String>,
    /// An address, or the first one of a network.
    address: IpAddr,
    why: String,
}

/// How often each kind of refusal occurred since the last write.
#[derive(Default)]
struct RefusalCounts {
    by_kind: BTreeMap<Refusal, u64>,
    /// Refusals beyond the kinds that are distinguished.
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

    /// The kinds that get an entry of their own: those of known users first, then the most frequent
    /// ones. The others are counted.
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

/// Receives logins and refusals.
pub(crate) struct LoginRecord {
    notes: mpsc::Sender<Note>,
    refusals: Arc<Mutex<RefusalCounts>>,
}

/// The task that writes them.
pub(crate) struct Writer {
    notes: mpsc::Receiver<Note>,
    refusals: Arc<Mutex<RefusalCounts>>,
    store: Arc<dyn Store>,
}

/// The record, and the task that writes it.
pub(crate) fn record(store: Arc<dyn Store>) -> (LoginRecord, Writer) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let refusals = Arc::<Mutex<RefusalCounts>>::default();
    let record = LoginRecord { notes: sender, refusals: Arc::clone(&refusals) };
    (record, Writer { notes: receiver, refusals, store })
}

impl LoginRecord {
    /// A login by the printed address is by the user who started the console, and is not recorded.
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

    /// An unknown name may be a password, so it is not recorded.
    pub(crate) fn refuse_login(&self, known: Option<&str>, address: IpAddr, why: &str) {
        self.refuse(OperatorAction::LoginRefused, known, address, why);
    }

    /// Records that a viewer tried to act.
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
            tracing::warn!(who = note.who, action = %note.action, "cannot record a login, a logout or a refusal");
        }
    }
}

impl Writer {
    /// Writes until the console ends, and then the rest.
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
            tracing::warn!(who, %action, times, %error, "cannot record a login, a logout or a refusal");
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
    fn a_flood_of_refusals_does_not_hide_guesses_at_users() {
        let mut gathered = RefusalCounts::default();
        for n in 0..10_000 {
            gathered.add(refusal(None, n));
            gathered.add(refusal(None, n));
        }
        assert_eq!(gathered.by_kind.len(), KINDS_MAX);
        // One of the first thousand kinds is not replaced; a user is among them.
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
