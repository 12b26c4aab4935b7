//! Every grant the provider ever made, in memory, sharded so that requests rarely meet.
//!
//! One record per grant, of fixed size: the state of each of its tokens follows from the token's
//! number, so a million exchanges of one grant take no more room than one.

mod check;
mod document;
mod grant;
mod seed;
mod split;
mod view;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

pub use check::{CheckReport, DeadCounts, GrantJudgement, GrantVerdict, LostCause, LostCounts};
pub use document::LedgerDocument;
pub use grant::DeathCause;
pub use seed::{SeedDocument, SeedError, SeedPlan};
pub use split::{DocumentSplitter, SplitError};
pub use view::{GrantState, GrantView, LedgerSummary, TokenState};

pub(crate) use check::judge;
pub(crate) use grant::{Exchange, Grant, Terms};
pub(crate) use seed::{signed_in, sow};

use crate::sync::lock;

/// How many locks share the grants, and how many the users.
const SHARDS: usize = 64;

/// The grants, by id, and the users' latest.
#[derive(Debug)]
pub(crate) struct Ledger {
    grants: Vec<Mutex<Vec<Grant>>>,
    users: Vec<Mutex<HashMap<Arc<str>, u32>>>,
    opened: AtomicU32,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            grants: (0..SHARDS).map(|_| Mutex::default()).collect(),
            users: (0..SHARDS).map(|_| Mutex::default()).collect(),
            opened: AtomicU32::new(0),
        }
    }

    /// A user signs in: a new grant, beside those of earlier sign-ins. Answers its id.
    pub(crate) fn open(&self, user: &str, now_ms: u64, terms: &Terms) -> u32 {
        let mut users = lock(self.users_shard(user));
        let previous = users.get(user).copied();
        let user: Arc<str> = Arc::from(user);
        let shard = self.opened.fetch_add(1, Ordering::Relaxed) as usize % SHARDS;
        let mut grants = lock(&self.grants[shard]);
        let id = (grants.len() * SHARDS + shard) as u32;
        grants.push(Grant::new(user.clone(), previous, now_ms, terms));
        users.insert(user, id);
        id
    }

    /// Does something with a grant under its lock.
    pub(crate) fn with<R>(&self, id: u32, act: impl FnOnce(&mut Grant) -> R) -> Option<R> {
        let mut grants = lock(&self.grants[id as usize % SHARDS]);
        grants.get_mut(id as usize / SHARDS).map(act)
    }

    /// The grant of a user's latest sign-in.
    pub(crate) fn latest_of(&self, user: &str) -> Option<u32> {
        lock(self.users_shard(user)).get(user).copied()
    }

    /// A user's grants, the latest first.
    pub(crate) fn all_of(&self, user: &str) -> Vec<u32> {
        std::iter::successors(self.latest_of(user), |id| self.with(*id, |grant| grant.previous)?)
            .collect()
    }

    /// Does something with every grant, one shard's lock at a time.
    pub(crate) fn for_each(&self, mut act: impl FnMut(&mut Grant)) {
        for shard in &self.grants {
            lock(shard).iter_mut().for_each(&mut act);
        }
    }

    /// How many grants there are.
    pub(crate) fn len(&self) -> u64 {
        u64::from(self.opened.load(Ordering::Relaxed))
    }

    fn users_shard(&self, user: &str) -> &Mutex<HashMap<Arc<str>, u32>> {
        // FNV-1a: only to spread the users over the locks.
        let hash = user.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        &self.users[(hash >> 32) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SimulatorSettings;

    #[test]
    fn grants_are_found_by_id_and_by_user_latest_first() {
        let ledger = Ledger::new();
        let terms = Terms::from(&SimulatorSettings::default());
        let first = ledger.open("ada", 1, &terms);
        let others: Vec<_> =
            (0..200).map(|n| ledger.open(&format!("user-{n}"), 2, &terms)).collect();
        let second = ledger.open("ada", 3, &terms);
        assert_eq!(ledger.all_of("ada"), vec![second, first]);
        assert_eq!(ledger.with(others[150], |grant| grant.user.to_string()).unwrap(), "user-150");
        assert_eq!(ledger.latest_of("nobody"), None);
        assert_eq!(ledger.with(999_999, |_| ()), None);
        assert_eq!(ledger.len(), 202);
    }
}
