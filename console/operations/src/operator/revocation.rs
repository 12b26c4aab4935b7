//! Token revocation (RFC 7009): a grant is revoked at its provider, then forgotten.

use std::sync::Arc;
use std::time::Duration;

use evergrant_budget::{Budget, BudgetSettings, Permit, SharedBudget};
use evergrant_domain::audit::{ActionOutcome, OperatorAction};
use evergrant_domain::{
    ClaimedDocument, DocumentId, ExchangeFailure, FailureKind, Grant, GrantStatus, Lease,
    ProviderId, RevocationOutcome, SealedTokens, classify_revocation,
};
use evergrant_ports::{ChangeResult, GrantChange, ProviderStates, StoreError};
use evergrant_provider::{ClientError, Provider, ProviderClient};
use evergrant_runtime::process;
use evergrant_telemetry::ProcessMetrics;

use super::grants::{ABSENT, WAITS, about};
use super::{ActingOperator, ActionError};

/// How long a request waits for the provider's budget.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a claim lasts, should somebody have made the grant active meanwhile.
const LEASE_TTL: Duration = Duration::from_secs(60);

/// Where the tokens of a provider are revoked, within its budget.
pub struct RevocationEndpoint {
    provider: Arc<Provider>,
    client: ProviderClient,
    budget: SharedBudget,
}

/// What a revocation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationResult {
    /// It is revoked, and its state is removed.
    Forgotten,
    /// It is revoked, but its state is still there: why.
    Revoked(String),
    /// It is as it was: why.
    Kept(String),
    /// Not now: see [`ChangeResult::UnderWay`].
    UnderWay,
    /// See [`ChangeResult::WaitsForAnswer`].
    WaitsForAnswer,
    /// There is no such document.
    Absent,
}

impl RevocationEndpoint {
    /// That of a provider, whose budget is kept in `states`.
    ///
    /// # Errors
    /// If there can be no client.
    pub fn start(provider: Provider, states: Arc<dyn ProviderStates>) -> Result<Self, ClientError> {
        let provider = Arc::new(provider);
        let client = ProviderClient::new(Arc::clone(&provider))?;
        let settings = BudgetSettings {
            provider: provider.id.clone(),
            limits: provider.limits.clone(),
            client: provider.fingerprint(),
            metrics: ProcessMetrics::default(),
        };
        Ok(Self { provider, client, budget: SharedBudget::start(states, settings) })
    }

    /// The provider.
    pub fn provider(&self) -> &ProviderId {
        &self.provider.id
    }

    /// The right to send one request. None if the budget let nothing through in time.
    async fn permit(&self) -> Option<Permit> {
        tokio::time::timeout(PERMIT_TIMEOUT, self.budget.acquire()).await.ok()
    }

    /// Revokes a grant's refresh token, once.
    async fn revoke(&self, permit: Permit, grant: &Grant) -> RevocationOutcome {
        let exchange = self.client.revoke(&grant.refresh_token, &grant.fields).await;
        permit.answered();
        let secrets = self.provider.secrets(&grant.refresh_token, &grant.fields);
        classify_revocation(exchange, &self.provider.dialect, secrets)
    }

    /// The grant whose token may be sent, or why none may.
    fn revocable(&self, document: ClaimedDocument) -> Result<Grant, RevocationResult> {
        let kept = |why: &str| Err(RevocationResult::Kept(why.to_owned()));
        let (grant, lease, owned) = match document {
            ClaimedDocument::Present { grant, lease, owned } => (grant, lease, owned),
            ClaimedDocument::Absent => return Err(RevocationResult::Absent),
            ClaimedDocument::Malformed { what, .. } => return kept(&what),
            ClaimedDocument::NoToken { .. } => return kept("it holds no refresh token"),
            ClaimedDocument::OfAnother { .. } => return kept(OF_ANOTHER),
            ClaimedDocument::Twin { of, .. } => {
                return kept(&format!(
                    "the document {of} had its token first: revoke that one, and forget this one without \
                     --revoke"
                ));
            }
        };
        let is_sealed =
            self.provider.policy.sealed_tokens == SealedTokens::Hold && grant.sealed.is_some();
        let is_of_dead = lease.as_ref().is_some_and(|lease| lease.taken_over.is_some());
        let reason = grant.last_error.as_ref().map(|error| error.reason);
        let has_failed = grant.status == GrantStatus::Failed;
        match () {
            () if has_failed && reason.is_some_and(FailureKind::waits_for_answer) => {
                Err(RevocationResult::WaitsForAnswer)
            }
            () if lease.is_some() && !owned || is_of_dead => Err(RevocationResult::UnderWay),
            () if grant.provider != self.provider.id => kept(OF_ANOTHER),
            () if has_failed && reason == Some(FailureKind::Twin) => kept(TWIN),
            () if grant.generation == 0 && !owned => kept(NEVER_REFRESHED),
            () if is_sealed => kept("the application has sealed its token, which is not sent so"),
            () => Ok(grant),
        }
    }
}

/// A grant whose token may be sent, and whether it was active and is paused now.
type PausedGrant = (Grant, bool);

const OF_ANOTHER: &str = "it is another provider's by now: try again in a minute";
const TWIN: &str =
    "another document had its token first: revoke that one, and forget this one without --revoke";
/// A claim tells of a twin, and only an active grant can be claimed.
const NEVER_REFRESHED: &str = "it was never refreshed, and only of an active grant it can be known whether another document had \
     its token first, whose grant would be revoked as well: resume or redrive it and revoke it then, or \
     forget it without --revoke";
const NO_PERMIT: &str = "its provider takes no requests now: it is paused, its circuit is open, or its limit is used up";
const CHANGED: &str = "somebody has changed it meanwhile: try again";

impl ActingOperator {
    /// Revokes a grant at its provider, and forgets it once that is done. Meanwhile it is paused, so that
    /// no worker takes it up. What is not revoked is as it was before.
    ///
    /// # Errors
    /// If the store does not answer. The grant may be paused then.
    pub async fn revoke_grant(
        &self,
        endpoint: &RevocationEndpoint,
        id: &DocumentId,
    ) -> Result<RevocationResult, ActionError> {
        let mut subject = about(OperatorAction::TokenForget, id);
        subject.provider = Some(endpoint.provider().clone());
        subject.request = serde_json::json!({ "revoke": true });
        self.audited(subject, self.pause_and_revoke(endpoint, id), told).await
    }

    async fn pause_and_revoke(
        &self,
        endpoint: &RevocationEndpoint,
        id: &DocumentId,
    ) -> Result<RevocationResult, ActionError> {
        let view = match self.store.get(id).await? {
            None => return Ok(RevocationResult::Absent),
            Some(view) if view.waits_for_answer() => return Ok(RevocationResult::WaitsForAnswer),
            Some(view) => view,
        };
        if view.provider.as_ref() != Some(endpoint.provider()) {
            return Ok(RevocationResult::Kept(OF_ANOTHER.to_owned()));
        }
        if view.leased_until.is_some() {
            return Ok(RevocationResult::UnderWay);
        }
        // Before anything is changed, since it may take long.
        let Some(permit) = endpoint.permit().await else {
            return Ok(RevocationResult::Kept(NO_PERMIT.to_owned()));
        };
        let (grant, is_paused) = match self.pause_revocable(endpoint, id).await? {
            Ok(paused) => paused,
            Err(why_not) => return Ok(why_not),
        };
        let why = match endpoint.revoke(permit, &grant).await {
            RevocationOutcome::Revoked => {
                return Ok(forgotten(self.store.change_grant(id, GrantChange::Forget).await));
            }
            RevocationOutcome::Refused(failure) => {
                format!("its provider did not revoke it: {}", words(&failure))
            }
            RevocationOutcome::InDoubt(failure) => format!(
                "it may be revoked, but no answer says so: {}; revoking it again does no harm",
                words(&failure)
            ),
        };
        if is_paused {
            self.store.change_grant(id, GrantChange::Resume).await?;
        }
        Ok(RevocationResult::Kept(why))
    }

    /// Claims the grant, which tells whether its token may be sent, and pauses it while no worker can take it.
    /// The claim of a grant that is not active only reads it, and sees whether a refresh that began before is
    /// still under way.
    async fn pause_revocable(
        &self,
        endpoint: &RevocationEndpoint,
        id: &DocumentId,
    ) -> Result<Result<PausedGrant, RevocationResult>, StoreError> {
        let ids = [id.clone()];
        let owner = Lease::owner_of(&process::unique_name(), endpoint.provider(), 0);
        let claim = self.store.claim(&ids, &owner, LEASE_TTL).await?;
        let document = claim.rows.into_iter().next().unwrap_or(ClaimedDocument::Absent);
        let owned = document.owned();
        let revocable = match endpoint.revocable(document) {
            // The lease of a worker that died tells the next claim of an answer that may be lost.
            Err(RevocationResult::UnderWay) => return Ok(Err(RevocationResult::UnderWay)),
            other => other,
        };
        let paused = match &revocable {
            Ok(_) if owned => self.store.change_grant(id, GrantChange::Pause).await,
            _ => Ok(ChangeResult::Applied),
        };
        if owned {
            self.store.release(&ids, &owner).await?;
        }
        let is_paused = paused? == ChangeResult::Applied;
        Ok(revocable.and_then(|grant| match is_paused {
            true => Ok((grant, owned)),
            false => Err(RevocationResult::Kept(CHANGED.to_owned())),
        }))
    }
}

/// What became of a grant that is revoked, whatever the store said of its state.
fn forgotten(changed: Result<ChangeResult, StoreError>) -> RevocationResult {
    match changed {
        Ok(ChangeResult::Applied | ChangeResult::Absent) => RevocationResult::Forgotten,
        Ok(_) => RevocationResult::Revoked("somebody has resumed it meanwhile".to_owned()),
        Err(error) => RevocationResult::Revoked(error.to_string()),
    }
}

/// For the audit record.
fn told(result: &RevocationResult) -> (ActionOutcome, String) {
    let nothing = |why: &str| (ActionOutcome::Nothing, why.to_owned());
    match result {
        RevocationResult::Forgotten => (ActionOutcome::Done, "revoked at its provider".to_owned()),
        RevocationResult::Revoked(_) => {
            (ActionOutcome::Partial, "revoked at its provider, and not forgotten".to_owned())
        }
        RevocationResult::Kept(why) => nothing(why),
        RevocationResult::UnderWay => nothing("a refresh was under way"),
        RevocationResult::WaitsForAnswer => nothing(WAITS),
        RevocationResult::Absent => nothing(ABSENT),
    }
}

/// Status, code and words of a failure.
fn words(failure: &ExchangeFailure) -> String {
    let status = failure.http_status.map(|status| status.to_string());
    let parts = [status, failure.code.clone(), failure.description.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
