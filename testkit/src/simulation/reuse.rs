//! The invariant about reuse: a rotated token may be sent again only if no worker could know
//! better.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::ClaimedDocument;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::Excuse;
use super::plan::RescueMeans;
use super::process::Process;
use super::world::{State, World};

/// Workers scan for journals of dead ones at their start and twice a second, and then write the
/// answers.
const INHERITED_AFTER: Duration = Duration::from_secs(2);

/// Within this time, the broker has noticed that a process is dead, and another one has its
/// messages.
const NOTICED_WITHIN: Duration = Duration::from_secs(6);

impl World {
    /// Whether a process lives and is or was just suspended.
    pub(super) fn is_frozen_lately(&self, process: &str) -> bool {
        let process = self.with(|state| state.alive.get(process).cloned());
        process.is_some_and(|process| process.is_frozen_lately())
    }

    /// Whether the answer to a token arrives at a suspended process.
    fn frozen(&self, token: &str) -> Option<Excuse> {
        let holder = self.with(|state| {
            let mut requests = state.tokens.in_flight.values();
            let answers = &state.tokens.answers;
            let asking = requests.find(|request| request.sent == token && request.rotated);
            let holding = answers.iter().find(|answer| answer.sent == token);
            asking.map(|r| r.process.clone()).or(holding.map(|answer| answer.process.clone()))
        });
        holder.filter(|holder| self.is_frozen_lately(holder)).map(|_| Excuse::HolderFrozen)
    }

    /// Whether the answer of a dead or disconnected worker has reached the document after all since
    /// the claim, which is unknown at the moment of sending.
    pub(super) fn is_answered_late(&self, row: &ClaimedDocument, token: &str) -> bool {
        let ClaimedDocument::Present { grant, .. } = row else { return false };
        let has_moved_on = grant.refresh_token.expose_secret() != token;
        has_moved_on && self.with(|state| state.tokens.doubted.contains(token))
    }

    /// Checks the sending of a rotated token, which may kill its grant.
    pub(super) fn reused(&self, process: &str, token: &str, name: &str, excuse: Option<Excuse>) {
        let is_lost = || self.with(|state| state.tokens.is_lost(token));
        let excuse = excuse
            .or_else(|| is_lost().then_some(Excuse::ReplyLost))
            .or_else(|| self.frozen(token))
            .or_else(|| self.out_of_reach(token));
        match excuse {
            Some(excuse) => self.excused(excuse),
            None => self
                .violate(format!("{process} sends {name}, which it or another exchanged before")),
        }
        self.with(|state| {
            // Its successor may still be written, but is dead by then.
            state.forsake(token);
        });
    }

    /// Whether the answer to a token is out of reach: with a process that has ended or reaches
    /// neither the store nor the broker, and otherwise only in journals that no worker with a store
    /// could read yet, or in a message at a suspended process.
    fn out_of_reach(&self, token: &str) -> Option<Excuse> {
        let found = self.with(|state| {
            let answer = state.tokens.answers.iter().find(|answer| answer.sent == token)?;
            let is_rescued = state.tokens.rescued.contains(&answer.successor);
            let workers: Vec<Arc<Process>> = state.alive.values().cloned().collect();
            let holder = state.alive.get(&answer.process).cloned();
            Some((answer.successor.clone(), is_rescued, holder, workers))
        });
        let (successor, is_rescued, holder, mut workers) = found?;
        if is_rescued && self.is_with_dead(&successor) {
            return Some(Excuse::HolderUnnoticed);
        }
        let is_stalled = is_rescued && self.is_with_frozen(&successor);
        workers.retain(|process| {
            process.is_worker() && process.reaches_store() && process.has_run_for(INHERITED_AFTER)
        });
        let hosts = workers.iter().map(|worker| worker.host).collect();
        let (is_in_reach, excuse) = match holder {
            // Nobody reads the journal of a living process. Without safeguards, it waits for the
            // store, however slow that is.
            Some(process) => {
                let delivers =
                    self.plan.rescue_means != RescueMeans::None && process.could_deliver();
                (delivers, Excuse::HolderCutOff)
            }
            None => {
                let holders = self.disks.holders_of(&successor, &hosts);
                (holders.iter().any(|holder| self.is_in_reach(holder)), Excuse::JournalUnread)
            }
        };
        let excuse = if is_stalled { Excuse::HolderFrozen } else { excuse };
        ((is_stalled || !is_rescued) && !is_in_reach).then_some(excuse)
    }

    /// Notes that a process got a message of the rescue queue that holds a token.
    pub(super) fn rescue_delivered(&self, process: &str, token: String) {
        self.with(|state| {
            let before = state.tokens.recoverers.get(&token);
            let of_dead = before.is_some_and(|(before, _)| state.died_at.contains_key(before));
            let found_at = of_dead.then(Instant::now);
            state.tokens.recoverers.insert(token, (process.to_owned(), found_at));
        });
    }

    /// Whether the message of the rescue queue with a token is at a dead process that the broker
    /// has not noticed, or was just now.
    fn is_with_dead(&self, token: &str) -> bool {
        self.with(|state| {
            let Some((process, found_at)) = state.tokens.recoverers.get(token) else {
                return false;
            };
            let just_found = found_at.is_some_and(|at| at.elapsed() < INHERITED_AFTER);
            let died_at = state.died_at.get(process);
            just_found || died_at.is_some_and(|at| at.elapsed() < NOTICED_WITHIN)
        })
    }

    /// Whether the message of the rescue queue with a token is at a suspended process.
    fn is_with_frozen(&self, token: &str) -> bool {
        let recoverer = self.with(|state| Some(state.tokens.recoverers.get(token)?.0.clone()));
        recoverer.is_some_and(|process| self.is_frozen_lately(&process))
    }

    /// Whether a process on a journal's machine can write its answers. While a process that has
    /// adopted them lives, nobody else reads them.
    fn is_in_reach(&self, holder: &(String, Instant)) -> bool {
        let heir = self.with(|state| state.alive.get(&holder.0).cloned());
        let is_just_found = self.with(|state| state.is_just_found(holder));
        !is_just_found && heir.is_none_or(|heir| heir.could_deliver())
    }
}

impl State {
    /// Whether a journal's process has ended, or another has adopted it, for less time than its
    /// machine needs to write the answers.
    fn is_just_found(&self, (holder, since): &(String, Instant)) -> bool {
        let since = self.died_at.get(holder).unwrap_or(since);
        since.elapsed() < INHERITED_AFTER
    }

    /// Notes that this token's grant is lost, with all its tokens so far.
    fn forsake(&mut self, token: &str) {
        let tokens = &mut self.tokens;
        let Some(family) = tokens.known.get(token).map(|known| known.family) else { return };
        let of_family = tokens.known.iter().filter(|(_, known)| known.family == family);
        let others = of_family.map(|(other, _)| other).filter(|other| *other != token);
        tokens.forsaken.extend(others.cloned());
        tokens.replies_lost.insert(token.to_owned());
        tokens.doubted.insert(token.to_owned());
    }
}
