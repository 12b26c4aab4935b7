//! Judges documents: which grants are live, which are lost, which did the provider kill.
//!
//! **Lost** is the client's doing: the provider rotated the token away and the document holds an
//! old one, or a second presentation made the provider kill the family. **Dead** is the
//! provider's: it revoked the grant or let it expire, and at that moment the document's token was
//! still good. A token that was good at the death of its grant is therefore dead, not lost, and
//! one that was not is lost, whatever became of the grant.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::LedgerDocument;
use super::grant::DeathCause;
use super::view::TokenState;
use super::{Grant, Ledger};
use crate::token::TokenCodec;

/// The most ids that a report lists.
pub(crate) const LISTED_MAX: usize = 100;

/// What a document's grant came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantVerdict {
    /// The provider would take the document's token now.
    Live,
    /// The provider would take it, but only until the grace ends.
    LiveInGrace,
    /// The client lost it.
    Lost(LostCause),
    /// The provider killed it.
    Dead(DeathCause),
    /// The document holds no token, and its user never had a grant.
    Malformed,
    /// Neither the token nor the user is of this provider.
    Unknown,
}

/// How a client lost a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LostCause {
    /// The document holds a token that was rotated away.
    RotatedAway,
    /// A token of the family was presented after its rotation, which killed the family.
    KilledByReuse,
    /// The user has a grant, but the document's token is none that this provider issued.
    ForeignToken,
    /// The user has a grant, but the document has no token, or something that is not a string.
    NoToken,
    /// The document holds a token of another user.
    AnothersToken,
}

/// The verdict on one document, with what its grant went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantJudgement {
    /// What the grant came to.
    pub verdict: GrantVerdict,
    /// How often a token of the grant was presented after it had been rotated away.
    pub reused: u32,
    /// How often a token of the grant was exchanged again within its grace.
    pub double_exchanges: u32,
}

/// The verdicts on many documents, in sums.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckReport {
    /// Documents judged: the sum of live, lost, dead, unknown and malformed.
    pub total: u64,
    /// Documents whose token would be accepted now.
    pub live: u64,
    /// Of the live, those whose token is accepted only until a grace ends.
    pub live_in_grace: u64,
    /// Documents whose grant the client lost.
    pub lost: u64,
    /// The lost, by cause.
    pub lost_by: LostCounts,
    /// Documents whose grant the provider killed.
    pub dead: u64,
    /// The dead, by cause.
    pub dead_by: DeadCounts,
    /// Documents of which the provider knows neither token nor user.
    pub unknown: u64,
    /// Documents without a usable token whose user never had a grant.
    pub malformed: u64,
    /// Documents of whose grant a token was presented after it had been rotated away.
    pub reused: u64,
    /// Exchanges of a token that had been exchanged before, within its grace, over all documents.
    pub double_exchanges: u64,
    /// The dead whose document does not say `needs_reauth`.
    pub dead_unreported: u64,
    /// The live whose document says `needs_reauth` or `failed`.
    pub live_given_up: u64,
    /// Ids of lost documents, the first 100.
    pub lost_ids: Vec<Value>,
    /// Ids of the dead that are unreported and of the live that were given up, the first 100.
    pub misreported_ids: Vec<Value>,
    /// All grants in the ledger, presented here or not.
    pub ledger_grants: u64,
}

/// Lost grants by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LostCounts {
    /// The document holds a token that was rotated away.
    pub rotated_away: u64,
    /// The family was killed because a token was presented after its rotation.
    pub killed_by_reuse: u64,
    /// The document's token is none of this provider's.
    pub foreign_token: u64,
    /// The document has no token.
    pub no_token: u64,
    /// The document holds another user's token.
    pub anothers_token: u64,
}

/// Dead grants by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeadCounts {
    /// Revoked by an administrator, or seeded so.
    pub revoked: u64,
    /// Past their lifetime, or seeded so.
    pub expired: u64,
    /// Killed by a fault.
    pub fault: u64,
}

impl CheckReport {
    /// Adds one document and its judgement to the sums.
    pub fn add(&mut self, document: &LedgerDocument, judgement: GrantJudgement) {
        self.total += 1;
        self.reused += u64::from(judgement.reused > 0);
        self.double_exchanges += u64::from(judgement.double_exchanges);
        let status = document.status();
        let misreported = match judgement.verdict {
            GrantVerdict::Live | GrantVerdict::LiveInGrace => {
                let given_up = matches!(status, Some("needs_reauth" | "failed"));
                self.live += 1;
                self.live_in_grace += u64::from(judgement.verdict == GrantVerdict::LiveInGrace);
                self.live_given_up += u64::from(given_up);
                given_up
            }
            GrantVerdict::Dead(cause) => {
                let unreported = status != Some("needs_reauth");
                self.dead += 1;
                self.dead_by.add(cause);
                self.dead_unreported += u64::from(unreported);
                unreported
            }
            GrantVerdict::Lost(cause) => {
                self.lost += 1;
                self.lost_by.add(cause);
                list(&mut self.lost_ids, &document.id);
                false
            }
            GrantVerdict::Malformed => {
                self.malformed += 1;
                false
            }
            GrantVerdict::Unknown => {
                self.unknown += 1;
                false
            }
        };
        if misreported {
            list(&mut self.misreported_ids, &document.id);
        }
    }
}

fn list(ids: &mut Vec<Value>, id: &Value) {
    if ids.len() < LISTED_MAX {
        ids.push(id.clone());
    }
}

impl LostCounts {
    fn add(&mut self, cause: LostCause) {
        *match cause {
            LostCause::RotatedAway => &mut self.rotated_away,
            LostCause::KilledByReuse => &mut self.killed_by_reuse,
            LostCause::ForeignToken => &mut self.foreign_token,
            LostCause::NoToken => &mut self.no_token,
            LostCause::AnothersToken => &mut self.anothers_token,
        } += 1;
    }
}

impl DeadCounts {
    fn add(&mut self, cause: DeathCause) {
        match cause {
            DeathCause::Revoked => self.revoked += 1,
            DeathCause::Expired => self.expired += 1,
            DeathCause::Fault => self.fault += 1,
            // Never dead but lost.
            DeathCause::Reuse => {}
        }
    }
}

/// Judges one document.
pub(crate) fn judge(
    ledger: &Ledger,
    codec: &TokenCodec,
    document: &LedgerDocument,
    now_ms: u64,
) -> GrantJudgement {
    let token = document.refresh_token.as_str().and_then(|token| codec.open_refresh_token(token));
    let by_token = token.and_then(|id| {
        ledger.with(id.grant, |grant| by_token(grant, id.number, document.user(), now_ms))
    });
    by_token.flatten().unwrap_or_else(|| by_user(ledger, document))
}

/// The verdict where the token is known.
fn by_token(grant: &Grant, number: u32, user: Option<&str>, now_ms: u64) -> Option<GrantJudgement> {
    let verdict = match TokenState::from_grant(grant, number, now_ms) {
        TokenState::Unknown => return None,
        _ if user.is_some_and(|user| *user != *grant.user) => {
            GrantVerdict::Lost(LostCause::AnothersToken)
        }
        TokenState::Rotated => {
            let reuse = grant.death(now_ms).is_some_and(|death| death.cause == DeathCause::Reuse);
            GrantVerdict::Lost(if reuse {
                LostCause::KilledByReuse
            } else {
                LostCause::RotatedAway
            })
        }
        TokenState::KilledByReuse => GrantVerdict::Lost(LostCause::KilledByReuse),
        TokenState::Live => GrantVerdict::Live,
        TokenState::InGrace => GrantVerdict::LiveInGrace,
        TokenState::Revoked | TokenState::Expired => {
            GrantVerdict::Dead(grant.death(now_ms).map_or(DeathCause::Revoked, |death| death.cause))
        }
    };
    Some(judgement(verdict, grant))
}

/// The verdict where there is no token, or one that means nothing here.
fn by_user(ledger: &Ledger, document: &LedgerDocument) -> GrantJudgement {
    let a_string = document.refresh_token.is_string();
    let latest = document.user().and_then(|user| ledger.latest_of(user));
    let lost = if a_string { LostCause::ForeignToken } else { LostCause::NoToken };
    latest
        .and_then(|id| ledger.with(id, |grant| judgement(GrantVerdict::Lost(lost), grant)))
        .unwrap_or(GrantJudgement {
            verdict: if a_string { GrantVerdict::Unknown } else { GrantVerdict::Malformed },
            reused: 0,
            double_exchanges: 0,
        })
}

fn judgement(verdict: GrantVerdict, grant: &Grant) -> GrantJudgement {
    GrantJudgement { verdict, reused: grant.reused, double_exchanges: grant.double_exchanges }
}

#[cfg(test)]
mod tests;
