//! What operators did: one entry for each action, from before it begins until it is over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::audit_chain::ChainLink;
use crate::{DocumentId, ProviderId, Timestamp};

/// An action that nobody has heard of for this long is taken to have died. A bulk action says how
/// far it is much more often.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// What an operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorAction {
    /// Sends dead letters back.
    Redrive,
    /// Removes dead letters.
    Discard,
    /// Has a grant refreshed now.
    TokenRefresh,
    /// Has a grant left alone.
    TokenPause,
    /// Ends that.
    TokenResume,
    /// Removes what Evergrant knows of a grant.
    TokenForget,
    /// Has nothing sent to a provider.
    ProviderPause,
    /// Ends that, and opens the circuit.
    ProviderResume,
    /// Lets one request through an open circuit.
    ProviderProbe,
    /// Sets the limits of a provider.
    ProviderLimit,
    /// Confirms that the grants which a provider calls dead are dead.
    ProviderConfirm,
    /// Takes all documents out, tokens included.
    Export,
    /// Puts documents in.
    Import,
    /// Copies all documents from one store to another.
    Migrate,
    /// Copies the file of the store.
    Backup,
    /// Logs in to the web console.
    Login,
    /// Ends that.
    Logout,
    /// Is not let in to the web console.
    LoginRefused,
    /// Wants to act at the web console, and may only look.
    ActionRefused,
    /// Makes a user of the web console, or gives one another role and password.
    UserAdd,
    /// Removes one.
    UserRemove,
}

impl OperatorAction {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Redrive,
        Self::Discard,
        Self::TokenRefresh,
        Self::TokenPause,
        Self::TokenResume,
        Self::TokenForget,
        Self::ProviderPause,
        Self::ProviderResume,
        Self::ProviderProbe,
        Self::ProviderLimit,
        Self::ProviderConfirm,
        Self::Export,
        Self::Import,
        Self::Migrate,
        Self::Backup,
        Self::Login,
        Self::Logout,
        Self::LoginRefused,
        Self::ActionRefused,
        Self::UserAdd,
        Self::UserRemove,
    ];

    /// The name in the store and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Discard => "discard",
            Self::TokenRefresh => "token_refresh",
            Self::TokenPause => "token_pause",
            Self::TokenResume => "token_resume",
            Self::TokenForget => "token_forget",
            Self::ProviderPause => "provider_pause",
            Self::ProviderResume => "provider_resume",
            Self::ProviderProbe => "provider_probe",
            Self::ProviderLimit => "provider_limit",
            Self::ProviderConfirm => "provider_confirm",
            Self::Export => "export",
            Self::Import => "import",
            Self::Migrate => "migrate",
            Self::Backup => "backup",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::LoginRefused => "login_refused",
            Self::ActionRefused => "action_refused",
            Self::UserAdd => "user_add",
            Self::UserRemove => "user_remove",
        }
    }
}

impl std::fmt::Display for OperatorAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for OperatorAction {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|action| action.as_str() == name);
        found.ok_or_else(|| format!("an action is one of {}", names()))
    }
}

/// An action as it begins. The store gives it its id and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionIntent {
    /// Who: the user of the operating system as `name@host`, or the login at the web console.
    pub who: String,
    /// What.
    pub action: OperatorAction,
    /// To which provider, if to one.
    pub provider: Option<ProviderId>,
    /// To which document, if to one.
    pub document: Option<DocumentId>,
    /// Everything else that was asked, as data: a filter, a rate, limits.
    pub request: serde_json::Value,
    /// Why, in the operator's words.
    pub why: String,
}

/// An entry of the audit record. It is kept in the store as JSON, and in this form given to scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its id: later ones are greater.
    pub id: String,
    /// When it began, by the store's clock.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What.
    pub action: OperatorAction,
    /// To which provider, if to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// To which document, if to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentId>,
    /// Everything else that was asked.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub request: serde_json::Value,
    /// Why, in the operator's words.
    #[serde(default)]
    pub why: String,
    /// How far it is.
    pub progress: ActionProgress,
    /// When that was told, by the store's clock.
    pub told_at: Timestamp,
    /// Its place in the chain of entries. None if a release without one made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<ChainLink>,
    /// The digest that was stored with `progress`.
    #[serde(skip)]
    pub progress_digest: Option<String>,
}

/// How far an action is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionProgress {
    /// What came of it.
    pub outcome: ActionOutcome,
    /// How many things it is about, if that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<u64>,
    /// How many it was done to.
    #[serde(default)]
    pub done: u64,
    /// How many it could not be done to.
    #[serde(default)]
    pub left: u64,
    /// What else there is to say, such as an error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What came of an action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    /// It is under way.
    #[default]
    Running,
    /// It is done.
    Done,
    /// Some of it is done; the rest could not be.
    Partial,
    /// Nothing matched, or nothing was to be done.
    Nothing,
    /// The operator ended it before it was done.
    Cancelled,
    /// It failed; what was done before stays done.
    Failed,
    /// Its process died over it. It is never stored: it is told of an entry that is under way and
    /// that nobody has heard of for [`SILENCE_TIMEOUT`].
    Died,
}

impl ActionOutcome {
    /// The name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Nothing => "nothing",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Died => "died",
        }
    }
}

impl AuditEntry {
    /// The entry `id` of an action that begins now, after the entry of the link `last`.
    pub fn begin(
        id: String,
        intent: ActionIntent,
        now: Timestamp,
        last: Option<&ChainLink>,
    ) -> Self {
        let ActionIntent { who, action, provider, document, request, why } = intent;
        let mut entry = Self {
            id,
            at: now,
            who,
            action,
            provider,
            document,
            request,
            why,
            progress: ActionProgress::default(),
            told_at: now,
            link: None,
            progress_digest: None,
        };
        entry.link = Some(ChainLink::new(&entry, last));
        entry
    }

    /// What came of it, as far as anybody can tell `now`.
    pub fn outcome(&self, now: Timestamp) -> ActionOutcome {
        let silent = now.since(self.told_at) > SILENCE_TIMEOUT;
        match self.progress.outcome {
            ActionOutcome::Running if silent => ActionOutcome::Died,
            outcome => outcome,
        }
    }
}

/// Which entries of the audit record are wanted, newest first. Empty fields don't filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Before the entry with this id: the last one of the page before.
    pub before: Option<String>,
    /// By this operator.
    pub who: Option<String>,
    /// Of this kind.
    pub action: Option<OperatorAction>,
    /// About this provider.
    pub provider: Option<ProviderId>,
    /// About this document.
    pub document: Option<DocumentId>,
    /// Begun at this time or later.
    pub since: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
}

impl AuditFilter {
    /// Whether an entry is wanted, the limit aside.
    pub fn matches(&self, entry: &AuditEntry) -> bool {
        fn is<T: PartialEq>(wanted: &Option<T>, found: Option<&T>) -> bool {
            wanted.as_ref().is_none_or(|wanted| found == Some(wanted))
        }
        self.before.as_ref().is_none_or(|before| entry.id < *before)
            && is(&self.who, Some(&entry.who))
            && is(&self.action, Some(&entry.action))
            && is(&self.provider, entry.provider.as_ref())
            && is(&self.document, entry.document.as_ref())
            && self.since.is_none_or(|since| entry.at >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at_ms: i64) -> AuditEntry {
        let intent = ActionIntent {
            who: "root@host".to_owned(),
            action: OperatorAction::Redrive,
            provider: "p".parse().ok(),
            document: None,
            request: serde_json::json!({ "limit": 5 }),
            why: "the incident is over".to_owned(),
        };
        AuditEntry::begin(at_ms.to_string(), intent, Timestamp::from_unix_ms(at_ms), None)
    }

    #[test]
    fn an_action_that_nobody_has_heard_of_has_died() {
        let entry = entry(0);
        let after = |seconds| Timestamp::default().plus(Duration::from_secs(seconds));
        assert_eq!(entry.outcome(after(30)), ActionOutcome::Running);
        assert_eq!(entry.outcome(after(31)), ActionOutcome::Died);
        let done = ActionProgress { outcome: ActionOutcome::Done, ..ActionProgress::default() };
        assert_eq!(AuditEntry { progress: done, ..entry }.outcome(after(99)), ActionOutcome::Done);
    }

    #[test]
    fn every_action_has_one_name_everywhere() {
        for action in OperatorAction::ALL {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
            assert_eq!(action.as_str().parse(), Ok(action));
        }
    }

    #[test]
    fn an_entry_survives_the_store() {
        let entry = entry(1_700_000_000_000);
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<AuditEntry>(&json).unwrap(), entry);
    }
}
