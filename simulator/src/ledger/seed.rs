//! Users who have signed in, as documents: sound ones, dead ones and malformed ones.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::grant::DeathCause;
use super::{Ledger, Terms};
use crate::draw::{self, Purpose};
use crate::token::{TokenCodec, TokenId};

/// The most documents of one plan.
const SEED_COUNT_MAX: u32 = 10_000_000;

/// Which documents to make. The same plan on a fresh simulator makes the same documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeedPlan {
    /// How many.
    pub count: u32,
    /// Decides which are dead or malformed. None is the simulator's own seed.
    pub seed: Option<u64>,
    /// The share whose grant is dead from the start, half revoked and half expired.
    pub dead_share: f64,
    /// The share without a usable refresh token (missing, a number or an object). They have no
    /// grant.
    pub malformed_share: f64,
    /// What every user id begins with.
    pub prefix: String,
}

impl Default for SeedPlan {
    fn default() -> Self {
        Self {
            count: 1,
            seed: None,
            dead_share: 0.0,
            malformed_share: 0.0,
            prefix: "user-".to_owned(),
        }
    }
}

/// A plan that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The count is out of its range.
    #[error("count is {0}: it must be from 1 to 10000000")]
    Count(u32),
    /// The shares are none.
    #[error("dead_share and malformed_share must be from 0 to 1, and no more than 1 together")]
    Shares,
    /// The prefix is too long.
    #[error("prefix must have at most 200 characters")]
    Prefix,
}

impl SeedPlan {
    /// Checks every number against its range.
    pub fn validate(&self) -> Result<(), SeedError> {
        if self.count == 0 || self.count > SEED_COUNT_MAX {
            return Err(SeedError::Count(self.count));
        }
        let share = |share: f64| (0.0..=1.0).contains(&share);
        let sum = self.dead_share + self.malformed_share;
        if !share(self.dead_share) || !share(self.malformed_share) || sum > 1.0 + 1e-9 {
            return Err(SeedError::Shares);
        }
        if self.prefix.chars().count() > 200 { Err(SeedError::Prefix) } else { Ok(()) }
    }
}

/// A document as an application would have stored it after a sign-in.
#[derive(Clone, Serialize)]
pub struct SeedDocument {
    /// `{"$oid":"…"}`, a MongoDB ObjectId in extended JSON.
    #[serde(rename = "_id")]
    pub id: Value,
    /// Whose grant it holds.
    #[serde(rename = "userId")]
    pub user_id: String,
    /// The access token.
    pub access_token: String,
    /// The refresh token: a string, or anything else in a malformed document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Value>,
    /// The user's address.
    pub email: String,
}

/// Shows no token.
impl std::fmt::Debug for SeedDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedDocument")
            .field("_id", &self.id)
            .field("userId", &self.user_id)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Sound,
    Dead,
    Malformed,
}

/// Makes the document with this ordinal, and its grant unless it is malformed.
pub(crate) fn sow(
    ledger: &Ledger,
    codec: &TokenCodec,
    plan: &SeedPlan,
    seed: u64,
    ordinal: u64,
    now_ms: u64,
    terms: &Terms,
) -> SeedDocument {
    let user_id = format!("{}{ordinal:07}", plan.prefix);
    let draw = draw::unit(seed, Purpose::SeedFate, ordinal, 0);
    let kind = draw::bits(seed, Purpose::SeedKind, ordinal, 0);
    let fate = fate(draw, plan);
    if fate == Fate::Malformed {
        let access_token = codec.access_token(TokenId { grant: u32::MAX, number: 0 }, kind as u32);
        let refresh_token = match kind % 3 {
            0 => Some(json!(true)),
            1 => Some(json!(kind >> 12)),
            _ => Some(json!({"value": null})),
        };
        return document(seed, ordinal, user_id, access_token, refresh_token);
    }
    let grant = ledger.open(&user_id, now_ms, terms);
    if fate == Fate::Dead {
        let cause = if kind.is_multiple_of(2) { DeathCause::Revoked } else { DeathCause::Expired };
        ledger.with(grant, |grant| grant.kill(cause, now_ms));
    }
    signed_in(codec, grant, user_id, seed, ordinal)
}

/// The document of a grant that has just been opened.
pub(crate) fn signed_in(
    codec: &TokenCodec,
    grant: u32,
    user_id: String,
    seed: u64,
    ordinal: u64,
) -> SeedDocument {
    let token = TokenId { grant, number: 0 };
    let refresh_token = Some(Value::String(codec.refresh_token(token)));
    document(seed, ordinal, user_id, codec.access_token(token, 0), refresh_token)
}

fn fate(draw: f64, plan: &SeedPlan) -> Fate {
    if draw < plan.dead_share {
        Fate::Dead
    } else if draw < plan.dead_share + plan.malformed_share {
        Fate::Malformed
    } else {
        Fate::Sound
    }
}

fn document(
    seed: u64,
    ordinal: u64,
    user_id: String,
    access_token: String,
    refresh_token: Option<Value>,
) -> SeedDocument {
    let first = draw::bits(seed, Purpose::DocumentId, 0, 0);
    let email = format!("{user_id}@example.com");
    let id = json!({"$oid": format!("{first:016x}{:08x}", ordinal as u32)});
    SeedDocument { id, user_id, access_token, refresh_token, email }
}
