//! On-demand refresh: whether a caller gets the access token that is stored, a new one, or a reason why
//! there is none.

use std::time::Duration;

use secrecy::SecretString;

use super::decide::RETRY_TIMEOUT;
use crate::{DocumentId, FailureKind, GrantStatus, LastError, ProviderId, Timestamp};

/// A grant as its document has it, with the access token.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// The document.
    pub id: DocumentId,
    /// The application's user id.
    pub user: Option<String>,
    /// The provider. None for a document that is not adopted yet.
    pub provider: Option<ProviderId>,
    /// The status. None for a document that is not adopted yet.
    pub status: Option<GrantStatus>,
    /// How many times it has been refreshed.
    pub generation: u64,
    /// The access token, if the document holds one that can be read.
    pub access_token: Option<SecretString>,
    /// When it was obtained, if Evergrant obtained it.
    pub refreshed_at: Option<Timestamp>,
    /// When it expires, if that is known.
    pub access_expires_at: Option<Timestamp>,
    /// When a lease on the document ends, if one is held.
    pub leased_until: Option<Timestamp>,
    /// Until when a job is taken to be under way.
    pub queued_until: Option<Timestamp>,
    /// When it is due.
    pub next_refresh_at: Option<Timestamp>,
    /// Whether the provider has called its token dead, and is asked again before that is believed.
    pub is_questioned: bool,
    /// Since when its refreshes have failed, if they do.
    pub failing_since: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<LastError>,
    /// The store's clock when it was read.
    pub read_at: Timestamp,
}

/// What a caller asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenDemand {
    /// How long the token has to be valid at least.
    pub min_ttl: Duration,
    /// The token must be of a later generation than this, however long it is valid.
    pub newer_than: Option<u64>,
}

/// What a caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenDecision {
    /// The stored token.
    Serve,
    /// A new one: the stored token does not suffice, and the grant can be refreshed.
    Refresh,
    /// Nothing: no token of this provider is valid for so long.
    LifetimeTooShort {
        /// How long an access token is valid.
        lifetime: Duration,
    },
    /// Nothing new before this time: a refresh has failed, and its retry is not due.
    RetryAt(Timestamp),
    /// Nothing until the document is adopted, which takes seconds.
    NotAdopted,
    /// Nothing until somebody acts: see [`GrantStatus`], which is not [`GrantStatus::Active`].
    Stopped(GrantStatus),
}

impl StoredToken {
    /// How long the access token is still valid; None if that is not known.
    pub fn left(&self) -> Option<Duration> {
        Some(self.access_expires_at?.since(self.read_at))
    }

    /// Whether there is an access token that is still valid, of a grant that has not ended. One whose expiry
    /// is not known may have expired long ago.
    pub fn is_live(&self) -> bool {
        self.access_token.is_some()
            && self.status.is_some()
            && !self.needs_sign_in()
            && self.left().is_some_and(|left| !left.is_zero())
    }

    /// When a failed refresh is tried again, if that is still to come. A caller's request is no reason to try
    /// earlier: attempts are counted, and a provider that calls a token dead is asked again after a pause.
    fn retry_at(&self) -> Option<Timestamp> {
        // Of a grant whose refreshes succeed, it is the job that was published on schedule.
        let has_failed = self.last_error.is_some() || self.is_questioned;
        let of_ladder = self.queued_until.filter(|_| has_failed)?.minus(RETRY_TIMEOUT);
        let postponed = self.next_refresh_at.filter(|_| self.failing_since.is_some());
        Some(postponed.map_or(of_ladder, |at| at.max(of_ladder))).filter(|at| *at > self.read_at)
    }

    /// How long its access tokens are valid, as the last refresh tells.
    pub fn lifetime(&self) -> Option<Duration> {
        Some(self.access_expires_at?.since(self.refreshed_at?))
    }

    /// Whether the user has to sign in again before there is a token.
    pub fn needs_sign_in(&self) -> bool {
        matches!(self.status, Some(GrantStatus::NeedsReauth | GrantStatus::NoToken))
    }

    /// Why the last refresh failed, if it did.
    pub fn failure(&self) -> Option<FailureKind> {
        self.last_error.as_ref().map(|error| error.reason)
    }

    /// Decides what a caller gets. `assumed_lifetime` is how long an access token is taken to be valid where
    /// neither the answer nor the document tells.
    ///
    /// A dead grant's token is not handed out, however long it was to be valid: most providers revoke it with
    /// the grant. A paused or failed grant's token is, because only its refreshes have stopped. A token whose
    /// expiry is not known is replaced.
    pub fn decide(&self, demand: &TokenDemand, assumed_lifetime: Duration) -> TokenDecision {
        let Some(status) = self.status else { return TokenDecision::NotAdopted };
        if self.needs_sign_in() {
            return TokenDecision::Stopped(status);
        }
        let is_new_enough = demand.newer_than.is_none_or(|than| self.generation > than);
        let suffices = self.left().is_some_and(|left| left >= demand.min_ttl);
        if is_new_enough && self.is_live() && suffices {
            return TokenDecision::Serve;
        }
        if status != GrantStatus::Active {
            return TokenDecision::Stopped(status);
        }
        let lifetime = self.lifetime().unwrap_or(assumed_lifetime);
        if demand.min_ttl > lifetime {
            return TokenDecision::LifetimeTooShort { lifetime };
        }
        self.retry_at().map_or(TokenDecision::Refresh, TokenDecision::RetryAt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExchangeFailure;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    /// A token that was obtained half an hour ago and is valid for another half.
    fn stored() -> StoredToken {
        StoredToken {
            id: DocumentId::Integer(1),
            user: None,
            provider: "p".parse().ok(),
            status: Some(GrantStatus::Active),
            generation: 3,
            access_token: Some("a".into()),
            refreshed_at: Some(NOW.minus(HOUR / 2)),
            access_expires_at: Some(NOW.plus(HOUR / 2)),
            leased_until: None,
            queued_until: None,
            next_refresh_at: Some(NOW.plus(HOUR)),
            is_questioned: false,
            failing_since: None,
            last_error: None,
            read_at: NOW,
        }
    }

    fn decide(stored: &StoredToken, min_ttl: Duration) -> TokenDecision {
        stored.decide(&TokenDemand { min_ttl, newer_than: None }, HOUR)
    }

    #[test]
    fn a_token_that_is_valid_for_long_enough_is_served() {
        assert_eq!(decide(&stored(), Duration::ZERO), TokenDecision::Serve);
        assert_eq!(decide(&stored(), HOUR / 2), TokenDecision::Serve);
    }

    #[test]
    fn a_token_that_is_valid_for_too_short_a_time_is_replaced() {
        let asked = HOUR / 2 + Duration::from_secs(1);
        assert_eq!(decide(&stored(), asked), TokenDecision::Refresh);
    }

    #[test]
    fn an_expired_token_is_never_served() {
        let expired = StoredToken { access_expires_at: Some(NOW), ..stored() };
        assert_eq!(decide(&expired, Duration::ZERO), TokenDecision::Refresh);
        for status in GrantStatus::ALL {
            let expired = StoredToken { status: Some(status), ..expired.clone() };
            assert_ne!(decide(&expired, Duration::ZERO), TokenDecision::Serve, "{status}");
        }
    }

    #[test]
    fn more_than_a_lifetime_cannot_be_had() {
        let asked = HOUR + Duration::from_secs(1);
        let expected = TokenDecision::LifetimeTooShort { lifetime: HOUR };
        assert_eq!(decide(&stored(), asked), expected);
    }

    #[test]
    fn a_token_of_unknown_expiry_is_replaced() {
        let unknown = StoredToken { access_expires_at: None, ..stored() };
        assert_eq!(decide(&unknown, Duration::ZERO), TokenDecision::Refresh);
        assert!(!unknown.is_live());
    }

    #[test]
    fn a_failed_refresh_is_not_tried_before_its_time() {
        let failure = ExchangeFailure::described("HTTP 503");
        let last_error = Some(LastError::from_failure(&failure, FailureKind::Transient, NOW));
        let retry_at = NOW.plus(Duration::from_secs(60));
        let queued_until = Some(retry_at.plus(RETRY_TIMEOUT));
        let failed = StoredToken { last_error, queued_until, ..stored() };
        assert_eq!(decide(&failed, HOUR), TokenDecision::RetryAt(retry_at));
        assert_eq!(decide(&failed, Duration::ZERO), TokenDecision::Serve);
        let later = StoredToken { read_at: retry_at, ..failed.clone() };
        assert_eq!(decide(&later, HOUR), TokenDecision::Refresh);
        let postponed = StoredToken { failing_since: Some(NOW), ..failed.clone() };
        assert_eq!(decide(&postponed, HOUR), TokenDecision::RetryAt(NOW.plus(HOUR)));
        let queued = StoredToken { last_error: None, ..failed };
        let questioned = StoredToken { is_questioned: true, ..queued.clone() };
        assert_eq!(decide(&questioned, HOUR), TokenDecision::RetryAt(retry_at));
        assert_eq!(decide(&queued, HOUR), TokenDecision::Refresh, "a scheduled job is no failure");
    }

    #[test]
    fn a_dead_grant_gives_no_token() {
        for status in [GrantStatus::NeedsReauth, GrantStatus::NoToken] {
            let dead = StoredToken { status: Some(status), ..stored() };
            assert!(!dead.is_live());
            assert_eq!(decide(&dead, Duration::ZERO), TokenDecision::Stopped(status));
        }
    }

    #[test]
    fn a_paused_or_failed_grants_token_is_served_while_it_lives() {
        for status in [GrantStatus::Paused, GrantStatus::Failed] {
            let stopped = StoredToken { status: Some(status), ..stored() };
            assert_eq!(decide(&stopped, Duration::ZERO), TokenDecision::Serve);
            assert_eq!(decide(&stopped, HOUR), TokenDecision::Stopped(status));
        }
    }

    #[test]
    fn a_forced_refresh_ends_with_a_later_generation() {
        let demand = TokenDemand { min_ttl: Duration::ZERO, newer_than: Some(3) };
        assert_eq!(stored().decide(&demand, HOUR), TokenDecision::Refresh);
        let refreshed = StoredToken { generation: 4, ..stored() };
        assert_eq!(refreshed.decide(&demand, HOUR), TokenDecision::Serve);
    }

    #[test]
    fn a_document_that_is_not_adopted_is_waited_for() {
        let new = StoredToken { status: None, ..stored() };
        assert_eq!(decide(&new, Duration::ZERO), TokenDecision::NotAdopted);
    }
}
