//! Whether a token may be sent again that was rotated away: only where nobody could know better.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::ClaimedDocument;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::Excuse;
use super::plan::RescueMeans;
use super::process::Process;
use super::world::{State, World};

/// Workers look for what a dead one has left when they start and twice a second, and then write it.
const INHERITED_AFTER: Duration = Duration::from_secs(2);

/// Within this the broker has noticed that a process is dead, and another has the messages that it had.
const NOTICED_WITHIN: Duration = Duration::from_secs(6);

impl World {
    /// Whether a process lives and stands still, or did until just now.
    pub(super) fn is_frozen_lately(&self, process: &str) -> bool {
        let process = self.with(|state| state.alive.get(process).cloned());
        process.is_some_and(|process| process.is_frozen_lately())
    }

    /// Whether the answer to a token comes to a process that stands still.
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

    /// Whether a dead or cut off worker's answer to a token has come to the document after all, and
    /// that since it was claimed: nobody can know that at the moment of sending.
    pub(super) fn is_answered_late(&self, row: &ClaimedDocument, token: &str) -> bool {
        let ClaimedDocument::Present { grant, .. } = row else { return false };
        let has_moved_on = grant.refresh_token.expose_secret() != token;
        has_moved_on && self.with(|state| state.tokens.doubted.contains(token))
    }

    /// A token is sent that was rotated away, which may kill its grant.
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
            // Its successor may still be written, and is dead by then.
            state.forsake(token);
        });
    }

    /// Whether the answer to a token is with a process that is gone, or that reaches neither the
    /// store nor the broker, and otherwise only in journals that nobody who reaches the store can
    /// read yet, or in a message that a process has which stands still: then nobody could know better.
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
            // Nobody reads the journal of a process that lives. Without safeguards it waits for the store,
            // however slow that is.
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

    /// A process is delivered a message of the rescue queue that holds a token.
    pub(super) fn rescue_delivered(&self, process: &str, token: String) {
        self.with(|state| {
            let before = state.tokens.recoverers.get(&token);
            let of_dead = before.is_some_and(|(before, _)| state.died_at.contains_key(before));
            let found_at = of_dead.then(Instant::now);
            state.tokens.recoverers.insert(token, (process.to_owned(), found_at));
        });
    }

    /// Whether the message of the rescue queue that holds a token is with a process that is dead, which the
    /// broker has not noticed, or was until just now.
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

    /// Whether the message of the rescue queue that holds a token is with a process that stands still.
    fn is_with_frozen(&self, token: &str) -> bool {
        let recoverer = self.with(|state| Some(state.tokens.recoverers.get(token)?.0.clone()));
        recoverer.is_some_and(|process| self.is_frozen_lately(&process))
    }

    /// Whether somebody on a journal's machine can write what is in it. Nobody else reads what a
    /// process has found, as long as that lives.
    fn is_in_reach(&self, holder: &(String, Instant)) -> bool {
        let heir = self.with(|state| state.alive.get(&holder.0).cloned());
        let is_just_found = self.with(|state| state.is_just_found(holder));
        !is_just_found && heir.is_none_or(|heir| heir.could_deliver())
    }
}

impl State {
    /// Whether the process with a journal is gone, or another has found it, for less time than its
    /// machine needs to write what is in it.
    fn is_just_found(&self, (holder, since): &(String, Instant)) -> bool {
        let since = self.died_at.get(holder).unwrap_or(since);
        since.elapsed() < INHERITED_AFTER
    }

    /// This token's grant is lost, and all tokens of it so far.
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
