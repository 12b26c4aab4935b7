//! What the ledger tells of its grants and tokens.

use serde::{Deserialize, Serialize};

use super::grant::{DeathCause, Grant, TokenStanding};

/// What a refresh token is worth now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// An exchange would take it.
    Live,
    /// An exchange would take it, because the grace after its rotation is not over.
    InGrace,
    /// It was rotated away.
    Rotated,
    /// Its grant was revoked, by an administrator or a fault.
    Revoked,
    /// Its grant has outlived its lifetime.
    Expired,
    /// Its grant was killed because another of its tokens was presented too late.
    KilledByReuse,
    /// This provider did not issue it.
    Unknown,
}

/// Whether a grant lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// It lives.
    Live,
    /// It is dead, of this cause.
    Dead(DeathCause),
}

/// One grant as `GET /ledger/users/{user_id}` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantView {
    /// The grant's id.
    pub grant: u32,
    /// Whose it is.
    pub user_id: String,
    /// How often its token was replaced. Siblings issued in a grace are one generation.
    pub generation: u32,
    /// When the user signed in, in milliseconds since the Unix epoch.
    pub issued_at_ms: u64,
    /// When a token was last exchanged, in milliseconds since the Unix epoch.
    pub exchanged_at_ms: Option<u64>,
    /// When new tokens were last handed to a client that was still there, in milliseconds since the
    /// Unix epoch. Before `exchanged_at_ms` if those of the last exchange found nobody.
    pub replied_at_ms: Option<u64>,
    /// Whether it lives.
    pub state: GrantState,
    /// When it died, in milliseconds since the Unix epoch.
    pub died_at_ms: Option<u64>,
    /// How often a token of it was presented.
    pub presentations: u32,
    /// How often a token of it was exchanged.
    pub exchanges: u32,
    /// How often one was presented after it had been rotated away and its grace was over.
    pub reused: u32,
    /// How often one was exchanged again within its grace.
    pub double_exchanges: u32,
}

/// All grants in sums, as `GET /ledger` shows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerSummary {
    /// All grants.
    pub grants: u64,
    /// Those that live.
    pub live: u64,
    /// Those that an administrator revoked, or that were seeded so.
    pub revoked: u64,
    /// Those that outlived their lifetime, or that were seeded so.
    pub expired: u64,
    /// Those that a fault killed.
    pub killed_by_fault: u64,
    /// Those that were killed because a token was presented too late.
    pub killed_by_reuse: u64,
    /// Exchanges of all grants.
    pub exchanges: u64,
    /// Grants of which a token was presented after it had been rotated away.
    pub reused_grants: u64,
    /// Exchanges of a token that had been exchanged before, all within its grace.
    pub double_exchanges: u64,
}

impl GrantView {
    pub(crate) fn from_grant(id: u32, grant: &Grant, now_ms: u64) -> Self {
        let death = grant.death(now_ms);
        Self {
            grant: id,
            user_id: grant.user.to_string(),
            generation: grant.generation,
            issued_at_ms: grant.issued_at_ms,
            exchanged_at_ms: grant.exchanged_at_ms,
            replied_at_ms: grant.replied_at_ms,
            state: death.map_or(GrantState::Live, |death| GrantState::Dead(death.cause)),
            died_at_ms: death.map(|death| death.at_ms),
            presentations: grant.presentations,
            exchanges: grant.exchanges,
            reused: grant.reused,
            double_exchanges: grant.double_exchanges,
        }
    }
}

impl LedgerSummary {
    pub(crate) fn add(&mut self, grant: &Grant, now_ms: u64) {
        self.grants += 1;
        *match grant.death(now_ms).map(|death| death.cause) {
            None => &mut self.live,
            Some(DeathCause::Revoked) => &mut self.revoked,
            Some(DeathCause::Expired) => &mut self.expired,
            Some(DeathCause::Fault) => &mut self.killed_by_fault,
            Some(DeathCause::Reuse) => &mut self.killed_by_reuse,
        } += 1;
        self.exchanges += u64::from(grant.exchanges);
        self.reused_grants += u64::from(grant.reused > 0);
        self.double_exchanges += u64::from(grant.double_exchanges);
    }
}

impl TokenState {
    pub(crate) fn from_grant(grant: &Grant, number: u32, now_ms: u64) -> Self {
        let death = grant.death(now_ms);
        let standing = grant.standing(number, death.map_or(now_ms, |death| death.at_ms));
        match (standing, death.map(|death| death.cause)) {
            (TokenStanding::Unissued, _) => Self::Unknown,
            (TokenStanding::Superseded, _) => Self::Rotated,
            (_, Some(DeathCause::Revoked | DeathCause::Fault)) => Self::Revoked,
            (_, Some(DeathCause::Expired)) => Self::Expired,
            (_, Some(DeathCause::Reuse)) => Self::KilledByReuse,
            (TokenStanding::Live, None) => Self::Live,
            (TokenStanding::InGrace, None) => Self::InGrace,
        }
    }
}
