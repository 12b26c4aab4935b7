//! Token revocation (RFC 7009): a grant is revoked at its provider, then forgotten.

use std::sync::Arc;
use std::time::Duration;

use evergrant_budget::{Budget, BudgetSettings, SharedBudget};
use evergrant_domain::audit::{ActionOutcome, OperatorAction};
use evergrant_domain::{
    ClaimedDocument, DocumentId, ExchangeFailure, Grant, GrantStatus, Lease, ProviderId,
    RevocationOutcome, SealedTokens, classify_revocation,
};
use evergrant_ports::{ChangeResult, GrantChange, GrantView, ProviderStates, StoreError};
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
    Revoked(ChangeResult),
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

    /// Revokes a grant's refresh token, once. None if the budget let nothing through in time.
    async fn revoke(&self, grant: &Grant) -> Option<RevocationOutcome> {
        let permit = tokio::time::timeout(PERMIT_TIMEOUT, self.budget.acquire()).await.ok()?;
        let exchange = self.client.revoke(&grant.refresh_token, &grant.fields).await;
        permit.answered();
        let secrets = self.provider.secrets(&grant.refresh_token, &grant.fields);
        Some(classify_revocation(exchange, &self.provider.dialect, secrets))
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
                return kept(&format!("the document {of} holds its token, too: revoke that one"));
            }
        };
        let is_sealed =
            self.provider.policy.sealed_tokens == SealedTokens::Hold && grant.sealed.is_some();
        match () {
            () if lease.is_some() && !owned => Err(RevocationResult::UnderWay),
            () if grant.provider != self.provider.id => kept(OF_ANOTHER),
            () if is_sealed => kept("the application has sealed its token, which is not sent so"),
            () => Ok(grant),
        }
    }
}

const OF_ANOTHER: &str = "it is another provider's by now: try again in a minute";

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
        let is_paused = self.pause_active(&view).await?;
        let revoked = self.revoke_unclaimed(endpoint, id).await;
        let is_kept =
            !matches!(revoked, Ok(RevocationResult::Forgotten | RevocationResult::Revoked(_)));
        if is_paused && is_kept {
            self.store.change_grant(id, GrantChange::Resume).await?;
        }
        Ok(revoked?)
    }

    /// Whether it was active, and is paused now.
    async fn pause_active(&self, view: &GrantView) -> Result<bool, StoreError> {
        if view.status != Some(GrantStatus::Active) {
            return Ok(false);
        }
        let paused = self.store.change_grant(&view.id, GrantChange::Pause).await?;
        Ok(paused == ChangeResult::Applied)
    }

    /// A grant that is not active is claimed by nobody: the claim reads it, and sees whether a refresh that
    /// began before is still under way.
    async fn revoke_unclaimed(
        &self,
        endpoint: &RevocationEndpoint,
        id: &DocumentId,
    ) -> Result<RevocationResult, StoreError> {
        let ids = [id.clone()];
        let owner = Lease::owner_of(&process::unique_name(), endpoint.provider(), 0);
        let claim = self.store.claim(&ids, &owner, LEASE_TTL).await?;
        let document = claim.rows.into_iter().next().unwrap_or(ClaimedDocument::Absent);
        let owned = document.owned();
        let outcome = match endpoint.revocable(document) {
            Ok(grant) => Ok(endpoint.revoke(&grant).await),
            Err(why_not) => Err(why_not),
        };
        if owned {
            self.store.release(&ids, &owner).await?;
        }
        Ok(match outcome {
            Err(why_not) => why_not,
            Ok(None) => RevocationResult::Kept(
                "its provider takes no requests now: it is paused, its circuit is open, or its limit is \
                 used up"
                    .to_owned(),
            ),
            Ok(Some(RevocationOutcome::Refused(failure))) => {
                RevocationResult::Kept(format!("its provider did not revoke it: {}", words(&failure)))
            }
            Ok(Some(RevocationOutcome::InDoubt(failure))) => RevocationResult::Kept(format!(
                "no answer came, and it may be revoked: {}; revoking it again does no harm",
                words(&failure)
            )),
            Ok(Some(RevocationOutcome::Revoked)) => {
                match self.store.change_grant(id, GrantChange::Forget).await? {
                    ChangeResult::Applied | ChangeResult::Absent => RevocationResult::Forgotten,
                    other => RevocationResult::Revoked(other),
                }
            }
        })
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
