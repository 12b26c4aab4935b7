//! One grant: the family of tokens that stems from one sign-in. Pure; no lock, no clock.
//!
//! Tokens are numbered in the order of their issue. An exchange makes the token that was sent the
//! *parent* and its child the only leaf. Within the grace the parent may be sent again; each time
//! a sibling of the first child is issued, and all siblings are leaves until one of them is used.
//! Only the parent can have children, so the leaves are a range of numbers.

use std::sync::Arc;

use serde::Serialize;

use crate::settings::SimulatorSettings;

/// No end in sight.
const NEVER: u64 = u64::MAX;

/// Why a grant is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeathCause {
    /// Revoked by an administrator, or seeded so.
    Revoked,
    /// Past its idle or absolute lifetime, or seeded so.
    Expired,
    /// Killed by the `invalid_grant` or `ok_with_error` fault.
    Fault,
    /// A token was presented after it had been rotated away. This one is the client's doing.
    Reuse,
}

/// When and why a grant died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) cause: DeathCause,
    pub(crate) at_ms: u64,
}

/// What a token of a grant is worth at a time, the grant's death aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenStanding {
    /// A leaf.
    Live,
    /// The parent of the leaves, still in its grace.
    InGrace,
    /// Rotated away.
    Superseded,
    /// Not issued yet.
    Unissued,
}

/// The terms that an exchange stamps on the grant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) rotate: bool,
    pub(crate) kill_on_reuse: bool,
    pub(crate) grace_ms: u64,
    pub(crate) idle_ms: Option<u64>,
    pub(crate) absolute_ms: Option<u64>,
}

impl From<&SimulatorSettings> for Terms {
    fn from(settings: &SimulatorSettings) -> Self {
        Self {
            rotate: settings.rotate,
            kill_on_reuse: settings.kill_on_reuse,
            grace_ms: settings.grace_s * 1_000,
            idle_ms: settings.refresh_idle_s.map(|idle_s| idle_s * 1_000),
            absolute_ms: settings.refresh_absolute_s.map(|absolute_s| absolute_s * 1_000),
        }
    }
}

/// What became of a presented token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// A new token with this number replaces it. `in_grace` if it had been exchanged before.
    Rotated { number: u32, in_grace: bool },
    /// It stays what it is.
    Kept,
    /// It had been rotated away.
    Reused,
    /// The grant is dead.
    Dead,
    /// The grant never had it.
    Unknown,
}

/// One grant.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) user: Arc<str>,
    /// The grant of the user's previous sign-in.
    pub(crate) previous: Option<u32>,
    pub(crate) issued_at_ms: u64,
    pub(crate) exchanged_at_ms: Option<u64>,
    /// When new tokens were last handed to a client that was still there.
    pub(crate) replied_at_ms: Option<u64>,
    idle_until_ms: u64,
    absolute_until_ms: u64,
    grace_until_ms: u64,
    parent: Option<u32>,
    first_leaf: u32,
    pub(crate) newest: u32,
    pub(crate) generation: u32,
    pub(crate) presentations: u32,
    pub(crate) exchanges: u32,
    pub(crate) reused: u32,
    pub(crate) double_exchanges: u32,
    death: Option<Death>,
}

impl Grant {
    /// A grant as a sign-in makes it: one token, number 0.
    pub(crate) fn new(user: Arc<str>, previous: Option<u32>, now_ms: u64, terms: &Terms) -> Self {
        Self {
            user,
            previous,
            issued_at_ms: now_ms,
            exchanged_at_ms: None,
            replied_at_ms: None,
            idle_until_ms: until(now_ms, terms.idle_ms),
            absolute_until_ms: until(now_ms, terms.absolute_ms),
            grace_until_ms: 0,
            parent: None,
            first_leaf: 0,
            newest: 0,
            generation: 0,
            presentations: 0,
            exchanges: 0,
            reused: 0,
            double_exchanges: 0,
            death: None,
        }
    }

    /// When and why the grant died, or None while it lives.
    pub(crate) fn death(&self, now_ms: u64) -> Option<Death> {
        let end_ms = self.idle_until_ms.min(self.absolute_until_ms);
        let expired = Death { cause: DeathCause::Expired, at_ms: end_ms };
        self.death.or((end_ms <= now_ms).then_some(expired))
    }

    /// What a token is worth at a time, the grant's death aside.
    pub(crate) fn standing(&self, number: u32, at_ms: u64) -> TokenStanding {
        if number > self.newest {
            TokenStanding::Unissued
        } else if number >= self.first_leaf {
            TokenStanding::Live
        } else if self.parent == Some(number) && at_ms < self.grace_until_ms {
            TokenStanding::InGrace
        } else {
            TokenStanding::Superseded
        }
    }

    /// Whether an exchange would take the token now.
    pub(crate) fn accepts(&self, number: u32, now_ms: u64) -> bool {
        let standing = self.standing(number, now_ms);
        self.death(now_ms).is_none()
            && matches!(standing, TokenStanding::Live | TokenStanding::InGrace)
    }

    /// Counts a presentation and tells which one it is, from 1.
    pub(crate) fn present(&mut self) -> u32 {
        self.presentations = self.presentations.wrapping_add(1);
        self.presentations
    }

    /// Exchanges a token. With `keep`, or without rotation, a live token stays what it is. One in
    /// its grace is rotated even so: it has no future that could be kept.
    pub(crate) fn exchange(
        &mut self,
        number: u32,
        keep: bool,
        now_ms: u64,
        terms: &Terms,
    ) -> Exchange {
        let death = self.death(now_ms);
        let standing = self.standing(number, death.map_or(now_ms, |death| death.at_ms));
        match (standing, death) {
            (TokenStanding::Unissued, _) => Exchange::Unknown,
            (TokenStanding::Superseded, _) => self.reuse(now_ms, terms),
            (_, Some(_)) => Exchange::Dead,
            (TokenStanding::Live, None) if keep || !terms.rotate => {
                self.touch(now_ms, terms);
                Exchange::Kept
            }
            (standing, None) => {
                self.rotate(number, standing == TokenStanding::InGrace, now_ms, terms)
            }
        }
    }

    /// The grant dies. A dead one keeps its first cause.
    pub(crate) fn kill(&mut self, cause: DeathCause, now_ms: u64) {
        self.death = self.death(now_ms).or(Some(Death { cause, at_ms: now_ms }));
    }

    /// Brings a grant that the provider killed back to what it was at its death: the same tokens
    /// are accepted, a grace goes on where it stopped, and its lifetimes begin anew. One that was
    /// killed by reuse stays dead, for a client lost it.
    pub(crate) fn forgive(&mut self, now_ms: u64, terms: &Terms) -> bool {
        let Some(death) = self.death(now_ms) else {
            return false;
        };
        if death.cause == DeathCause::Reuse {
            return false;
        }
        self.death = None;
        self.grace_until_ms += now_ms.saturating_sub(death.at_ms);
        self.idle_until_ms = until(now_ms, terms.idle_ms);
        self.absolute_until_ms = until(now_ms, terms.absolute_ms);
        true
    }

    fn reuse(&mut self, now_ms: u64, terms: &Terms) -> Exchange {
        self.reused += 1;
        if terms.kill_on_reuse {
            self.kill(DeathCause::Reuse, now_ms);
        }
        Exchange::Reused
    }

    fn rotate(&mut self, number: u32, in_grace: bool, now_ms: u64, terms: &Terms) -> Exchange {
        self.newest += 1;
        if in_grace {
            self.double_exchanges += 1;
        } else {
            self.parent = Some(number);
            self.first_leaf = self.newest;
            self.generation += 1;
            // No grace must be none even for a request whose time was taken a little earlier.
            let grace = Some(terms.grace_ms).filter(|grace_ms| *grace_ms > 0);
            self.grace_until_ms = grace.map_or(0, |grace_ms| now_ms.saturating_add(grace_ms));
        }
        self.touch(now_ms, terms);
        Exchange::Rotated { number: self.newest, in_grace }
    }

    fn touch(&mut self, now_ms: u64, terms: &Terms) {
        self.exchanges += 1;
        self.exchanged_at_ms = Some(now_ms);
        self.idle_until_ms = until(now_ms, terms.idle_ms);
    }
}

fn until(now_ms: u64, lifetime_ms: Option<u64>) -> u64 {
    lifetime_ms.map_or(NEVER, |lifetime_ms| now_ms.saturating_add(lifetime_ms))
}

#[cfg(test)]
mod tests;
