//! The stored token, or a refresh and then the new one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::{DocumentId, Job, ProviderId, StoredToken, TokenDecision};
use evergrant_ports::Store;
use evergrant_worker::{OnDemandRefresher, OnDemandResult};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::WaitLimits;
use crate::refusal::{LaterReason, Refusal};
use crate::token_query::TokenWish;

/// How often a document is read again that another process refreshes.
const LEASE_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// When to ask again where nothing tells.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// When to ask again while a document is being adopted or refreshed.
const SOON_DELAY: Duration = Duration::from_secs(1);

/// Hands out tokens, and has them refreshed.
pub(crate) struct TokenService {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) refresher: Arc<OnDemandRefresher>,
    pub(crate) wait: WaitLimits,
    pub(crate) sign_in: HashMap<ProviderId, String>,
}

/// Where a token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TokenOrigin {
    /// It was there.
    Stored,
    /// It was refreshed, here or elsewhere, while the caller waited.
    Refreshed,
}

/// Why a caller waits no longer, and when to ask again.
type WaitEnd = (LaterReason, Duration);

impl TokenService {
    /// One grant as it is stored.
    pub(crate) async fn stored(&self, id: &DocumentId) -> Result<StoredToken, Refusal> {
        self.store.stored_token(id).await?.ok_or(Refusal::NotFound)
    }

    /// A token that satisfies the wish: `stored`, if it does, or a new one. A grant is refreshed once for it at
    /// most. However a wait ends, what is then told is of the document as it is by then.
    pub(crate) async fn token(
        &self,
        mut stored: StoredToken,
        wish: &TokenWish,
    ) -> Result<(StoredToken, TokenOrigin), Refusal> {
        let deadline = Instant::now() + wish.wait.unwrap_or(self.wait.usual).min(self.wait.max);
        let (first, mut origin) = (stored.generation, TokenOrigin::Stored);
        let mut wait_end: Option<WaitEnd> = None;
        loop {
            let assumed =
                stored.provider.as_ref().and_then(|it| self.refresher.assumed_lifetime(it));
            // Of a provider that is not served nothing is refreshed, so nothing depends on it.
            let lifetime = assumed.unwrap_or_default();
            match stored.decide(&wish.demand(&stored, lifetime), lifetime) {
                TokenDecision::Serve => return Ok((stored, origin)),
                TokenDecision::Stopped(status) => {
                    let sign_in = stored.provider.as_ref().and_then(|it| self.sign_in.get(it));
                    let sign_in = sign_in.cloned();
                    return Err(Refusal::Stopped { stored: Box::new(stored), status, sign_in });
                }
                TokenDecision::NotAdopted => {
                    return Err(later((LaterReason::NotAdopted, SOON_DELAY), stored));
                }
                _ if assumed.is_none() => {
                    return Err(later((LaterReason::ProviderNotServed, RETRY_DELAY), stored));
                }
                TokenDecision::LifetimeTooShort { lifetime } => {
                    return Err(Refusal::LifetimeTooShort { lifetime });
                }
                TokenDecision::RetryAt(at) => {
                    let wait = at.since(stored.read_at);
                    return Err(later((LaterReason::RefreshFailed, wait), stored));
                }
                TokenDecision::Refresh => {}
            }
            // A token that was just obtained is valid for as long as one can be.
            if stored.generation > first {
                let lifetime = stored.left().unwrap_or_default();
                return Err(Refusal::LifetimeTooShort { lifetime });
            }
            if let Some(wait_end) = wait_end {
                return Err(later(wait_end, stored));
            }
            wait_end = self.wait_for_refresh(&stored, deadline).await;
            origin = TokenOrigin::Refreshed;
            let mut read = self.stored(&stored.id).await?;
            if wait_end.is_none() && !has_moved(&stored, &read) {
                // Another process may have it in hand.
                wait_end = pause(deadline).await;
                read = self.stored(&stored.id).await?;
            }
            stored = read;
        }
    }

    /// Has the grant refreshed, unless another process has it in hand, and waits for that. Says why, if the
    /// caller's wait is over.
    async fn wait_for_refresh(&self, stored: &StoredToken, deadline: Instant) -> Option<WaitEnd> {
        let provider = stored.provider.clone()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(shut_for) = self.refresher.shut_for(&provider).filter(|shut| *shut > left) {
            return Some((LaterReason::ProviderShut, shut_for));
        }
        if stored.leased_until.is_none() {
            let mut job = Job::new(provider, stored.id.clone(), stored.generation, stored.read_at);
            job.force = true;
            match timeout_at(deadline, self.refresher.refresh(job)).await {
                Ok(Some(OnDemandResult::Ended)) => {}
                Ok(Some(OnDemandResult::Busy)) => return Some((LaterReason::Busy, SOON_DELAY)),
                Ok(None) => return Some((LaterReason::ProviderNotServed, RETRY_DELAY)),
                Err(_) => return Some((LaterReason::RefreshUnderWay, SOON_DELAY)),
            }
        }
        None
    }
}

/// Lets a moment pass. Says why, if the caller's wait is over then.
async fn pause(deadline: Instant) -> Option<WaitEnd> {
    let next = Instant::now() + LEASE_CHECK_INTERVAL;
    sleep_until(next.min(deadline)).await;
    (next >= deadline).then_some((LaterReason::RefreshUnderWay, SOON_DELAY))
}

fn has_moved(before: &StoredToken, now: &StoredToken) -> bool {
    (now.generation, now.status) != (before.generation, before.status)
        || now.last_error != before.last_error
}

fn later((why, retry_after): WaitEnd, stored: StoredToken) -> Refusal {
    let reason = stored.failure();
    let token = stored.is_live().then(|| Box::new(stored));
    Refusal::Later { why, retry_after, reason, token }
}
