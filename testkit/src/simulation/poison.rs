//! Poison: documents and users with a permanent problem, which must not affect others.

use std::time::Duration;

use evergrant_domain::classify::HttpAnswer;
use evergrant_domain::{DocumentId, GrantStatus};
use evergrant_ports::{GrantAdmin, StoreError};
use fastrand::Rng;
use futures::{FutureExt, TryStreamExt};
use serde_json::json;

use super::Fault;
use super::people::sign_in_again;
use super::world::World;

/// The problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Poison {
    /// The store refuses to claim them.
    Claim,
    /// The store refuses to mark them as queued.
    Mark,
    /// The store refuses to adopt them.
    Adopt,
    /// The store refuses to revive them: they have no token until their users sign in.
    Revive,
    /// The store refuses to write an outcome into them.
    Commit,
    /// The provider answers 403 `unauthorized_client`.
    ClientError,
    /// The provider answers 429.
    Throttled,
}

impl Poison {
    /// All problems that others must survive.
    const ALL: [Self; 7] = [
        Self::Claim,
        Self::Mark,
        Self::Adopt,
        Self::Revive,
        Self::Commit,
        Self::ClientError,
        Self::Throttled,
    ];

    pub(crate) fn draw(rng: &mut Rng) -> Self {
        Self::ALL[rng.usize(..Self::ALL.len())]
    }

    const fn fault(self) -> Fault {
        match self {
            Self::Claim => Fault::ClaimRefused,
            Self::Mark => Fault::MarkRefused,
            Self::Adopt => Fault::AdoptRefused,
            Self::Revive => Fault::ReviveRefused,
            Self::Commit => Fault::CommitRefused,
            Self::ClientError => Fault::RejectedOne,
            Self::Throttled => Fault::ThrottledOne,
        }
    }
}

impl World {
    /// Whether a document has a problem.
    pub(crate) fn is_poisoned(&self, id: &DocumentId) -> bool {
        self.plan.poison.is_some_and(|(_, count)| {
            matches!(id, DocumentId::Integer(number) if (1..=i64::from(count)).contains(number))
        })
    }

    /// Whether a document has a problem of this kind.
    fn is_poisoned_by(&self, poison: Poison, id: &DocumentId) -> bool {
        self.plan.poison.is_some_and(|(kind, _)| kind == poison) && self.is_poisoned(id)
    }

    /// Whether a document has no token until its user signs in: the ones that the store refuses to
    /// revive then, and one that it does not.
    pub(crate) fn is_without_token(&self, id: &DocumentId) -> bool {
        let last = DocumentId::Integer(i64::from(self.plan.grants));
        let is_revive = self.plan.poison.is_some_and(|(kind, _)| kind == Poison::Revive);
        is_revive && (*id == last || self.is_poisoned(id))
    }

    /// Signs users in whose documents had no token.
    pub(crate) fn sign_in_first(&self) {
        for (id, user) in self.with(|state| state.users.clone()) {
            if self.is_without_token(&id) {
                sign_in_again(self, &id, &user);
            }
        }
    }

    /// The documents with `status` that the store refuses to change by this operation.
    pub(crate) async fn refused_documents(
        &self,
        poison: Poison,
        status: Option<GrantStatus>,
    ) -> Vec<DocumentId> {
        if self.is_calm() || self.plan.poison.is_none_or(|(kind, _)| kind != poison) {
            return Vec::new();
        }
        let all = self.store.list(Default::default()).try_collect::<Vec<_>>().await;
        let all = all.unwrap_or_default().into_iter().filter(|view| view.status == status);
        all.map(|view| view.id).filter(|id| self.is_poisoned_by(poison, id)).collect()
    }

    /// Reverts what the store refuses: these have `status` again.
    pub(crate) fn refuse(&self, poison: Poison, ids: &[DocumentId], status: Option<GrantStatus>) {
        for id in ids {
            let found = self.store.get(id).now_or_never().and_then(Result::ok).flatten();
            if found.is_none_or(|view| view.status == status) {
                continue;
            }
            self.reached(poison.fault());
            let status = status.map(|status| json!(status.as_str()));
            // It is JSON, and the document exists.
            let _ = self.store.edit(id, "evergrant.status", status);
        }
    }

    /// The position of a refused document in `ids`, before the calm.
    pub(crate) fn refused_at(&self, poison: Poison, ids: &[DocumentId]) -> Option<usize> {
        let is_so = self.plan.poison.is_some_and(|(kind, _)| kind == poison) && !self.is_calm();
        let at = is_so.then(|| ids.iter().position(|id| self.is_poisoned(id))).flatten();
        if at.is_some() {
            self.reached(poison.fault());
        }
        at
    }

    /// The provider's answer to a user with a problem.
    pub(crate) fn poisoned_answer(&self, token: &str) -> Option<HttpAnswer> {
        let (poison, _) = self.plan.poison.filter(|_| !self.is_calm())?;
        let (status, error, retry_after_ms) = match poison {
            Poison::ClientError => (403, "unauthorized_client", None),
            Poison::Throttled => (429, "slow_down", Some(20_000)),
            _ => return None,
        };
        let id = self.with(|state| state.tokens.document_of(token))?;
        if !self.is_poisoned(&id) {
            return None;
        }
        self.reached(poison.fault());
        let body = format!(r#"{{"error":"{error}"}}"#).into_bytes();
        Some(HttpAnswer { status, retry_after_ms, body })
    }

    /// Checks that all others were refreshed at no less than half their rate.
    pub(crate) fn check_others(&self) {
        if self.plan.poison.is_none() {
            return;
        }
        let rate = self.plan.chaos.as_secs_f64() / self.plan.longest_interval().as_secs_f64();
        let (least, ids) = ((rate / 2.0).floor() as u64, self.with(|s| s.users.clone()));
        for id in ids.keys().filter(|id| !self.is_poisoned(id)) {
            let refreshes = self.with(|state| state.bounds.refreshes_of(id));
            let least = if self.is_without_token(id) { 1 } else { least };
            if refreshes < least.max(1) {
                let poison = self.plan.poison;
                return self.violate(format!(
                    "{id} is well and is refreshed {refreshes} times instead of {rate:.1} beside {poison:?}"
                ));
            }
        }
    }
}

impl super::plan::Plan {
    /// The longest time between two refreshes of a healthy grant.
    fn longest_interval(&self) -> Duration {
        Duration::from_secs(self.access_token_s / 2) + SLACK
    }
}

/// How long a due grant may take: a pass, a delivery, the limit, the request.
const SLACK: Duration = Duration::from_secs(5);

/// The store's error for a document that violates its rules.
pub(crate) fn refused(operation: &'static str) -> StoreError {
    StoreError::Refused { operation, reason: "a document breaks a rule".to_owned() }
}
