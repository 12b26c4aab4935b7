//! Invariants with bounds: how often a token is sent, how often a grant is refreshed, and that a
//! document's generation only grows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evergrant_domain::{ClaimedDocument, DocumentId, DocumentWrite, GrantStatus, Timestamp};
use evergrant_ports::Commit;

use super::world::World;

/// How often a token may be sent that the provider has reported as dead.
const DEAD_ANSWERS_MAX: u32 = 8;

/// How often a grant's death may be revoked. A successful confirmation revokes deaths three times,
/// and there may be several.
const TAKEN_BACK_MAX: u32 = 9;

/// The counts.
#[derive(Default)]
pub(crate) struct Bounds {
    /// The latest generation of each document.
    generations: BTreeMap<DocumentId, u64>,
    /// When each document was last refreshed, and when its grant was to end then.
    refreshed_at: BTreeMap<DocumentId, (Timestamp, Option<Timestamp>)>,
    /// Documents that were forgotten and adopted again.
    forgotten: BTreeSet<DocumentId>,
    /// Documents without their earlier doubt: they were forgotten, or have the state of an old
    /// copy.
    doubts_gone: BTreeSet<DocumentId>,
    /// How often each document may be refreshed early, because of a request.
    asked_for: BTreeMap<DocumentId, u32>,
    /// How often each document was refreshed.
    refreshes: BTreeMap<DocumentId, u64>,
    /// The tokens that each claim has sent.
    sent_under: BTreeSet<(String, String)>,
    /// How often the provider reported each token as dead, since the last request for a refresh or
    /// the last revoked death.
    dead_answers: BTreeMap<String, u32>,
    /// How often each document's death was revoked.
    taken_back: BTreeMap<DocumentId, u32>,
}

impl Bounds {
    /// Notes that a document was forgotten.
    pub(crate) fn forget(&mut self, id: &DocumentId) {
        self.generations.remove(id);
        self.refreshed_at.remove(id);
        self.forgotten.insert(id.clone());
        self.doubts_gone.insert(id.clone());
    }

    /// Notes that a document has the state of an old copy.
    pub(crate) fn restated(&mut self, id: &DocumentId) {
        self.doubts_gone.insert(id.clone());
    }

    /// Whether a document may have lost its doubt.
    pub(crate) fn has_lost_doubts(&self, id: &DocumentId) -> bool {
        self.doubts_gone.contains(id)
    }

    /// Whether a document was forgotten.
    pub(crate) fn was_forgotten(&self, id: &DocumentId) -> bool {
        self.forgotten.contains(id)
    }

    /// How often a document was refreshed.
    pub(crate) fn refreshes_of(&self, id: &DocumentId) -> u64 {
        self.refreshes.get(id).copied().unwrap_or_default()
    }
}

impl World {
    /// Notes a request for an early refresh of this document.
    pub(crate) fn refresh_asked_for(&self, id: &DocumentId) {
        self.with(|state| *state.bounds.asked_for.entry(id.clone()).or_default() += 1);
        self.forget_dead_answers(id);
    }

    fn forget_dead_answers(&self, id: &DocumentId) {
        self.with(|state| {
            let (bounds, tokens) = (&mut state.bounds, &state.tokens);
            bounds.dead_answers.retain(|token, _| tokens.document_of(token).as_ref() != Some(id));
        });
    }

    /// Documents whose grants are dead.
    pub(crate) fn dead_documents(&self) -> Vec<DocumentId> {
        let ids: Vec<DocumentId> = self.with(|state| state.users.keys().cloned().collect());
        ids.into_iter().filter(|id| self.has_status(id, GrantStatus::NeedsReauth)).collect()
    }

    fn has_status(&self, id: &DocumentId, status: GrantStatus) -> bool {
        matches!(self.store.look(id), ClaimedDocument::Present { grant, .. } if grant.status == status)
    }

    /// Notes that deaths are no longer believed: those of `dead` that are active again are asked
    /// again.
    pub(crate) fn taken_back(&self, dead: &[DocumentId]) {
        for id in dead.iter().filter(|id| self.has_status(id, GrantStatus::Active)) {
            self.forget_dead_answers(id);
            let times = self.with(|state| {
                let times = state.bounds.taken_back.entry(id.clone()).or_default();
                *times += 1;
                *times
            });
            if times > TAKEN_BACK_MAX {
                self.violate(format!("the death of {id} is taken back {times} times"));
            }
        }
    }

    /// Checks a document that was seen: its generation must not decrease.
    pub(crate) fn seen(&self, id: &DocumentId, row: &ClaimedDocument) {
        let ClaimedDocument::Present { grant, .. } = row else { return };
        let latest = self.with(|state| {
            let latest = state.bounds.generations.entry(id.clone()).or_default();
            *latest = (*latest).max(grant.generation);
            *latest
        });
        if grant.generation < latest {
            self.violate(format!("{id} is of generation {} after {latest}", grant.generation));
        }
    }

    /// Checks that a claim sends a token for the first time.
    pub(crate) fn sent_under(&self, claim: &str, token: &str, name: &str) {
        let sent = (claim.to_owned(), token.to_owned());
        if !self.with(|state| state.bounds.sent_under.insert(sent)) {
            self.violate(format!("{claim} sends {name} twice"));
        }
    }

    /// Notes that the provider has reported a token as dead to a process.
    pub(crate) fn told_dead(&self, token: &str) {
        let (count, name) = self.with(|state| {
            let count = state.bounds.dead_answers.entry(token.to_owned()).or_default();
            *count += 1;
            (*count, state.tokens.called(token))
        });
        if count > DEAD_ANSWERS_MAX {
            self.violate(format!("{name} is called dead {count} times and sent again"));
        }
    }

    /// Checks new tokens that were written: not before the grant was due.
    pub(crate) fn refreshed(&self, commit: &Commit) {
        let DocumentWrite::Refresh { refreshed_at, times, .. } = commit.write else { return };
        let (before, was_asked_for) = self.with(|state| {
            let bounds = &mut state.bounds;
            let now = (refreshed_at, times.refresh_absolute_until);
            let before = bounds.refreshed_at.insert(commit.id.clone(), now);
            // Nothing is in doubt about its new token.
            bounds.doubts_gone.remove(&commit.id);
            *bounds.refreshes.entry(commit.id.clone()).or_default() += 1;
            let is_early = before.is_some_and(|(at, end)| {
                // The last refresh before an end is followed by one at the end.
                let is_last = end.is_some_and(|end| refreshed_at >= end.minus(EARLY));
                refreshed_at.since(at) < self.plan.floor() && !is_last
            });
            let asked = bounds.asked_for.entry(commit.id.clone()).or_default();
            let was_asked_for = !is_early || *asked > 0;
            if is_early {
                *asked = asked.saturating_sub(1);
            }
            (before, was_asked_for)
        });
        if !was_asked_for {
            let (id, since) = (&commit.id, before.map(|(at, _)| refreshed_at.since(at)));
            self.violate(format!("{id} is refreshed again after {since:?}"));
        }
    }
}

/// How early a worker accepts a job.
pub(crate) const EARLY: Duration = Duration::from_secs(5);

impl super::plan::Plan {
    /// The least time between two refreshes of one grant.
    fn floor(&self) -> Duration {
        // Half of the lifetime, minus a jitter of a fifth of the lifetime; and a job may be early.
        Duration::from_secs(self.access_token_s).mul_f64(0.3).saturating_sub(EARLY)
    }
}
