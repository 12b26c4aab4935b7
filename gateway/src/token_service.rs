//! The stored token, or a refresh and then the new one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::{DocumentId, Job, ProviderId, StoredToken, TokenDecision};
use evergrant_ports::Store;
use evergrant_worker::OnDemandRefresher;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::WaitLimits;
use crate::refusal::{LaterReason, Refusal};
use crate::token_query::TokenWish;

/// How often a document is read again that another process refreshes.
const LEASE_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// When to ask again after a failure that does not tell.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// When to ask again while a document is being adopted or refreshed.
const SOON: Duration = Duration::from_secs(1);

/// Hands out tokens, and has them refreshed.
pub(crate) struct TokenService {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) refresher: Arc<OnDemandRefresher>,
    pub(crate) wait: WaitLimits,
    pub(crate) sign_in: HashMap<ProviderId, String>,
}

impl TokenService {
    /// One grant as it is stored.
    pub(crate) async fn stored(&self, id: &DocumentId) -> Result<StoredToken, Refusal> {
        self.store.stored_token(id).await?.ok_or(Refusal::NotFound)
    }

    /// A token that satisfies the wish: `stored`, if it does, or a new one. Says whether it was refreshed for
    /// this.
    pub(crate) async fn token(
        &self,
        mut stored: StoredToken,
        wish: &TokenWish,
    ) -> Result<(StoredToken, TokenOrigin), Refusal> {
        let wait = wish.wait.unwrap_or(self.wait.usual).min(self.wait.max);
        let deadline = Instant::now() + wait;
        let mut origin = TokenOrigin::Stored;
        loop {
            let provider = stored.provider.clone();
            let assumed = provider.as_ref().and_then(|it| self.refresher.assumed_lifetime(it));
            // A provider that is not served is not refreshed either, so nothing depends on it.
            let assumed_lifetime = assumed.unwrap_or_default();
            match stored.decide(&wish.demand(&stored, assumed_lifetime), assumed_lifetime) {
                TokenDecision::Serve => return Ok((stored, origin)),
                TokenDecision::Refresh => {}
                TokenDecision::LifetimeTooShort { lifetime } if assumed.is_some() => {
                    return Err(Refusal::LifetimeTooShort { lifetime });
                }
                TokenDecision::LifetimeTooShort { .. } => {}
                TokenDecision::NotAdopted => {
                    return Err(later(LaterReason::NotAdopted, SOON, stored));
                }
                TokenDecision::Stopped(status) => {
                    let sign_in = provider.and_then(|it| self.sign_in.get(&it).cloned());
                    return Err(Refusal::Stopped { stored: Box::new(stored), status, sign_in });
                }
            }
            let Some(provider) = provider.filter(|_| assumed.is_some()) else {
                return Err(later(LaterReason::ProviderNotServed, RETRY_DELAY, stored));
            };
            stored = self.refreshed(stored, provider, deadline).await?;
            origin = TokenOrigin::Refreshed;
        }
    }

    /// The grant after something has changed: refreshed, ended, or read again because another process has it
    /// in hand.
    async fn refreshed(
        &self,
        stored: StoredToken,
        provider: ProviderId,
        deadline: Instant,
    ) -> Result<StoredToken, Refusal> {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(shut_for) = self.refresher.shut_for(&provider).filter(|shut| *shut > left) {
            return Err(later(LaterReason::ProviderShut, shut_for, stored));
        }
        if stored.leased_until.is_some() {
            return self.read_later(stored, deadline).await;
        }
        let mut job = Job::new(provider, stored.id.clone(), stored.generation, stored.read_at);
        job.force = true;
        if timeout_at(deadline, self.refresher.refresh(job)).await.is_err() {
            return Err(later(LaterReason::RefreshUnderWay, SOON, stored));
        }
        let now = self.stored(&stored.id).await?;
        let has_moved = now.generation != stored.generation || now.status != stored.status;
        if has_moved || now.leased_until.is_some() {
            return Ok(now);
        }
        let failed_at = now.last_error.as_ref().map(|error| error.at);
        if failed_at.is_some_and(|at| at >= stored.read_at) {
            return Err(later(LaterReason::RefreshFailed, RETRY_DELAY, now));
        }
        // Another process had it for a moment, or no slot was free in time.
        self.read_later(now, deadline).await
    }

    async fn read_later(
        &self,
        stored: StoredToken,
        deadline: Instant,
    ) -> Result<StoredToken, Refusal> {
        let next = Instant::now() + LEASE_CHECK_INTERVAL;
        if next > deadline {
            return Err(later(LaterReason::RefreshUnderWay, SOON, stored));
        }
        sleep_until(next).await;
        self.stored(&stored.id).await
    }
}

fn later(why: LaterReason, retry_after: Duration, stored: StoredToken) -> Refusal {
    Refusal::Later { why, retry_after, stored: Some(Box::new(stored)) }
}

/// Where a token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TokenOrigin {
    /// It was there.
    Stored,
    /// It was refreshed, here or elsewhere, while the caller waited.
    Refreshed,
}
