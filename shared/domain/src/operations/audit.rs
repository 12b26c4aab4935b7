//! The audit record: one entry for each action of an operator, written before it begins and updated
//! until it ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::audit_chain::ChainLink;
use crate::{DocumentId, ProviderId, Timestamp};

/// An action without an update for this long counts as dead. Bulk actions report their progress
/// much more often.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// An operator's action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorAction {
    /// Sends dead letters' jobs back to their queues.
    Redrive,
    /// Removes dead letters.
    Discard,
    /// Refreshes a grant now.
    TokenRefresh,
    /// Stops refreshing a grant.
    TokenPause,
    /// Ends a pause of a grant.
    TokenResume,
    /// Removes Evergrant's state of a grant.
    TokenForget,
    /// Stops sending requests to a provider.
    ProviderPause,
    /// Ends a pause, and closes the circuit.
    ProviderResume,
    /// Lets one request through an open circuit.
    ProviderProbe,
    /// Sets the limits of a provider.
    ProviderLimit,
    /// Confirms that the grants which a provider reports as dead are dead.
    ProviderConfirm,
    /// Exports all documents, tokens included.
    Export,
    /// Imports documents.
    Import,
    /// Copies all documents from one store to another.
    Migrate,
    /// Copies the store's file.
    Backup,
    /// Logs in to the web console.
    Login,
    /// Logs out of the web console.
    Logout,
    /// A refused login to the web console.
    LoginRefused,
    /// A refused action at the web console: the user may only view.
    ActionRefused,
    /// Creates a user of the web console, or changes role and password.
    UserAdd,
    /// Removes a user of the web console.
    UserRemove,
    /// Creates an API key of the gateway.
    KeyCreate,
    /// Gives an API key another secret.
    KeyRotate,
    /// Removes an API key.
    KeyRevoke,
}

impl OperatorAction {
    /// All actions.
    pub const ALL: [Self; 24] = [
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
        Self::KeyCreate,
        Self::KeyRotate,
        Self::KeyRevoke,
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
            Self::KeyCreate => "key_create",
            Self::KeyRotate => "key_rotate",
            Self::KeyRevoke => "key_revoke",
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

/// An action that is about to begin. The store adds its id and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionIntent {
    /// The operator: the user of the operating system as `name@host`, or the login at the web
    /// console.
    pub who: String,
    /// The action.
    pub action: OperatorAction,
    /// The provider, if the action is about one.
    pub provider: Option<ProviderId>,
    /// The document, if the action is about one.
    pub document: Option<DocumentId>,
    /// All other arguments, as data: a filter, a rate, limits.
    pub request: serde_json::Value,
    /// The operator's reason.
    pub why: String,
}

/// An entry of the audit record. The store keeps it as JSON, and scripts get the same form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its id; later entries have greater ones.
    pub id: String,
    /// When the action began, by the store's clock.
    pub at: Timestamp,
    /// The operator.
    pub who: String,
    /// The action.
    pub action: OperatorAction,
    /// The provider, if the action is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// The document, if the action is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentId>,
    /// All other arguments.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub request: serde_json::Value,
    /// The operator's reason.
    #[serde(default)]
    pub why: String,
    /// Its progress.
    pub progress: ActionProgress,
    /// When the progress was reported, by the store's clock.
    pub told_at: Timestamp,
    /// Its link in the chain of entries. None if a release without chains made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<ChainLink>,
    /// The digest that was stored with `progress`.
    #[serde(skip)]
    pub progress_digest: Option<String>,
}

/// The progress of an action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionProgress {
    /// Its outcome.
    pub outcome: ActionOutcome,
    /// How many items it is about, if they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<u64>,
    /// Items that are done.
    #[serde(default)]
    pub done: u64,
    /// Items that could not be done.
    #[serde(default)]
    pub left: u64,
    /// Further details, such as an error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The outcome of an action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    /// It is running.
    #[default]
    Running,
    /// It is done.
    Done,
    /// A part is done, and the rest failed.
    Partial,
    /// Nothing matched, or nothing had to be done.
    Nothing,
    /// The operator ended it early.
    Cancelled,
    /// It failed; what it had done stays done.
    Failed,
    /// Its process died. Never stored: an entry is shown as dead if it is running and was not
    /// updated for [`SILENCE_TIMEOUT`].
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
    /// The entry `id` of an action that begins now, after the entry with the link `last`.
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

    /// Its outcome, as far as it is known at `now`.
    pub fn outcome(&self, now: Timestamp) -> ActionOutcome {
        let silent = now.since(self.told_at) > SILENCE_TIMEOUT;
        match self.progress.outcome {
            ActionOutcome::Running if silent => ActionOutcome::Died,
            outcome => outcome,
        }
    }
}

/// Selects entries of the audit record, newest first. Empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Before the entry with this id, which is the last one of the previous page.
    pub before: Option<String>,
    /// By this operator.
    pub who: Option<String>,
    /// Of this action.
    pub action: Option<OperatorAction>,
    /// About this provider.
    pub provider: Option<ProviderId>,
    /// About this document.
    pub document: Option<DocumentId>,
    /// Begun at this time or later.
    pub since: Option<Timestamp>,
    /// The most entries.
    pub limit: u32,
}

impl AuditFilter {
    /// Whether an entry matches, regardless of the limit.
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
    fn a_silent_action_counts_as_dead() {
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
