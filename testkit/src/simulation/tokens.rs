//! Tracks where each token is: in the provider's reply on the wire, at a process, in a journal, in
//! the rescue queue, or in its document.
//!
//! The invariants that are checked here:
//!
//! * No two requests with one token are under way at once, and each is sent under a lease.
//! * A token from an answer is always somewhere, as long as its document still holds the one that
//!   was sent for it.
//! * No token is presented after it was rotated away, unless the reply to its rotation was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evergrant_domain::{ClaimedDocument, DocumentId, ProviderId};
use evergrant_simulator::TokenState;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::Excuse;
use super::counts::Counts;
use super::plan::RescueMeans;
use super::process::Process;
use super::world::{State, World};
use super::written::is_leased;

/// The state of all tokens.
#[derive(Default)]
pub(crate) struct Tokens {
    /// All tokens that were ever in a document or in a reply.
    pub(super) known: BTreeMap<String, KnownToken>,
    /// Requests under way.
    pub(super) in_flight: BTreeMap<u64, Request>,
    /// Answers that are not in their documents yet.
    pub(super) answers: Vec<Answer>,
    /// How many messages in the rescue queue hold each new token.
    pub(crate) rescued: Counts,
    /// Who last got such a message, and when, if a dead process had it before.
    pub(crate) recoverers: BTreeMap<String, (String, Option<Instant>)>,
    /// How many journal entries hold each new token.
    pub(crate) journalled: Counts,
    /// New tokens that are in the rescue queue according to a process.
    pub(crate) rescued_once: BTreeSet<String>,
    /// New tokens that no journal has accepted.
    pub(crate) unjournalled: BTreeSet<String>,
    /// Tokens that were rotated without a received reply.
    pub(crate) replies_lost: BTreeSet<String>,
    /// Tokens of sign-ins that an excused reuse of another of their tokens has killed.
    pub(crate) forsaken: BTreeSet<String>,
    /// Tokens whose successors came in an unreadable answer.
    pub(crate) unread: BTreeSet<String>,
    /// Tokens whose documents are withheld, because their successors are elsewhere.
    pub(crate) withheld: BTreeSet<String>,
    /// Valid tokens that the provider has reported as dead.
    pub(crate) slandered: BTreeSet<String>,
    /// Tokens that a commit has recorded in their documents.
    pub(crate) told: BTreeSet<String>,
    /// Tokens that may have been sent without a received answer.
    pub(crate) doubted: BTreeSet<String>,
    last: u64,
}

#[derive(Clone)]
pub(super) struct KnownToken {
    pub(super) id: DocumentId,
    /// Its name in the trace.
    pub(super) name: String,
    /// The sign-in that it stems from.
    pub(super) family: u64,
    /// Whether it was never issued.
    pub(super) is_made_up: bool,
}

pub(super) struct Request {
    pub(super) process: String,
    pub(super) sent: String,
    /// Whether the provider rotated it away.
    pub(super) rotated: bool,
    /// The new token, if the reply holds one.
    pub(super) successor: Option<String>,
}

pub(super) struct Answer {
    pub(super) process: String,
    pub(super) sent: String,
    pub(super) successor: String,
}

impl Tokens {
    /// Notes that a user has signed in and has this token in the document.
    pub(crate) fn signed_in(&mut self, token: &str, id: &DocumentId) {
        self.begin(token, id, "sign-in", false);
    }

    /// Notes that someone has written this into the document.
    pub(crate) fn made_up(&mut self, token: &str, id: &DocumentId) {
        self.begin(token, id, "made-up", true);
    }

    fn begin(&mut self, token: &str, id: &DocumentId, kind: &str, is_made_up: bool) {
        self.last += 1;
        let (id, name, family) = (id.clone(), format!("{id}/{kind}-{}", self.last), self.last);
        self.known.insert(token.to_owned(), KnownToken { id, name, family, is_made_up });
    }

    fn succeed(&mut self, token: &str, predecessor: &str) {
        let Some(KnownToken { id, family, .. }) = self.known.get(predecessor).cloned() else {
            return;
        };
        let name = format!("{id}/{family}-{}", self.known.len());
        let known = KnownToken { id, name, family, is_made_up: false };
        self.known.entry(token.to_owned()).or_insert(known);
    }

    /// Whether two tokens stem from the same sign-in.
    pub(crate) fn are_of_one_sign_in(&self, one: &str, other: &str) -> bool {
        let family = |token| self.known.get(token).map(|known| known.family);
        family(one).is_some() && family(one) == family(other)
    }

    /// Whether this token was never issued.
    pub(crate) fn is_made_up(&self, token: &str) -> bool {
        self.known.get(token).is_some_and(|known| known.is_made_up)
    }

    /// The document of a token, now or earlier.
    pub(crate) fn document_of(&self, token: &str) -> Option<DocumentId> {
        self.known.get(token).map(|known| known.id.clone())
    }

    /// The name of a token.
    pub(crate) fn called(&self, token: &str) -> String {
        let known = self.known.get(token);
        known.map_or_else(|| "a stranger".to_owned(), |known| known.name.clone())
    }

    /// Documents whose tokens are in requests under way.
    pub(crate) fn documents_in_flight(&self) -> Vec<DocumentId> {
        let known = self.in_flight.values().filter_map(|request| self.known.get(&request.sent));
        known.map(|known| known.id.clone()).collect()
    }

    /// Whether a token of the document is in a request under way, or an answer is not written yet.
    pub(crate) fn is_busy(&self, id: &DocumentId) -> bool {
        let unwritten = self.answers.iter().map(|answer| &answer.sent);
        let mut sent = self.in_flight.values().map(|request| &request.sent).chain(unwritten);
        sent.any(|token| self.known.get(token).is_some_and(|known| known.id == *id))
    }

    /// Whether the reply to its rotation, or its sign-in, is lost.
    pub(super) fn is_lost(&self, token: &str) -> bool {
        self.replies_lost.contains(token) || self.forsaken.contains(token)
    }

    /// The name of an answer that was in a journal or in the rescue queue for this long.
    pub(crate) fn left_for(&self, span: Duration) -> Option<String> {
        let left = self.rescued.longer_than(span).or_else(|| self.journalled.longer_than(span));
        left.map(|token| self.called(token))
    }

    fn is_kept(&self, token: &str) -> bool {
        self.rescued.contains(token) || self.journalled.contains(token)
    }
}

impl World {
    /// Notes that a request leaves a process. Returns its number, or why it must not be sent.
    pub(crate) fn request_sent(
        &self,
        process: &Process,
        provider: &ProviderId,
        token: &str,
    ) -> u64 {
        let (id, name, rival) = self.with(|state| {
            let tokens = &state.tokens;
            let rival = tokens.in_flight.values().find(|request| request.sent == token);
            let id = tokens.known.get(token).map(|known| known.id.clone());
            (id, tokens.called(token), rival.map(|rival| rival.process.clone()))
        });
        self.note(|| format!("{}: sends {name}", process.name));
        if let Some(rival) = rival.filter(|rival| !self.is_frozen_lately(rival)) {
            self.violate(format!("{name} is sent by {} and by {rival} at once", process.name));
        }
        if self.with(|state| state.tokens.withheld.contains(token)) {
            self.violate(format!("{} sends {name}, whose successor waits", process.name));
        }
        let owner = id.as_ref().and_then(|id| self.with(|s| s.provider_of.get(id).cloned()));
        if owner.as_ref().is_some_and(|owner| owner != provider) {
            self.violate(format!("{} sends {name} to {provider}, which is not its", process.name));
        }
        let row = id.map_or(ClaimedDocument::Absent, |id| self.store.look(&id));
        let is_leased = is_leased(&row, &process.name, self.now());
        if !is_leased && self.is_answered_late(&row, token) {
            self.excused(Excuse::AnsweredLate);
        } else if !is_leased {
            self.violate(format!("{} sends {name} without a lease", process.name));
        }
        if is_leased && let ClaimedDocument::Present { lease: Some(lease), .. } = &row {
            self.sent_under(&lease.owner, token, &name);
        }
        if self.oauth.token_state(token) == TokenState::Rotated {
            let is_late = self.is_answered_late(&row, token);
            self.reused(&process.name, token, &name, is_late.then_some(Excuse::AnsweredLate));
        }
        self.with(|state| {
            let tokens = &mut state.tokens;
            tokens.last += 1;
            let request = Request {
                process: process.name.clone(),
                sent: token.to_owned(),
                rotated: false,
                successor: None,
            };
            tokens.in_flight.insert(tokens.last, request);
            tokens.last
        })
    }

    /// Notes that the provider has handled a request. Its reply may hold a new token.
    pub(crate) fn request_handled(&self, number: u64, successor: Option<String>) {
        self.with(|state| {
            let tokens = &mut state.tokens;
            let Some(request) = tokens.in_flight.get_mut(&number) else { return };
            let standing = self.oauth.token_state(&request.sent);
            request.rotated = matches!(standing, TokenState::Rotated | TokenState::InGrace);
            request.successor.clone_from(&successor);
            let sent = request.sent.clone();
            if let Some(successor) = successor {
                tokens.succeed(&successor, &sent);
            }
        });
    }

    /// Notes that the reply to a request has arrived.
    pub(crate) fn reply_arrived(&self, number: u64) {
        self.with(|state| {
            let tokens = &mut state.tokens;
            let Some(Request { process, sent, successor, .. }) = tokens.in_flight.remove(&number)
            else {
                return;
            };
            tokens.answers.extend(successor.map(|successor| Answer { process, sent, successor }));
        });
    }

    /// Notes that the reply to a request is lost.
    pub(crate) fn reply_lost(&self, number: u64) {
        let name = self.with(|state| state.lose_reply(number));
        self.note(|| format!("the reply to {} is lost", name.unwrap_or_default()));
    }

    /// Notes that a process has ended, and with it the replies for which it waited.
    pub(crate) fn replies_lost_with(&self, process: &str) {
        self.with(|state| {
            let requests = state.tokens.in_flight.iter();
            let its: Vec<u64> =
                requests.filter(|(_, r)| r.process == process).map(|(number, _)| *number).collect();
            its.into_iter().for_each(|number| drop(state.lose_reply(number)));
        });
    }

    /// Checks that every answer is somewhere.
    pub(crate) fn check_answers(&self) {
        let answers = self.with(|state| std::mem::take(&mut state.tokens.answers));
        if answers.is_empty() {
            return;
        }
        let (mut kept, mut lost) = (Vec::new(), Vec::new());
        for answer in answers {
            if !self.is_wanted(&answer) {
                continue;
            }
            let safe = self.with(|state| {
                state.tokens.is_kept(&answer.successor) || state.alive.contains_key(&answer.process)
            });
            if safe { kept.push(answer) } else { lost.push(answer) }
        }
        self.with(|state| state.tokens.answers.extend(kept));
        lost.iter().for_each(|answer| self.answer_lost(answer));
    }

    /// Whether the document still holds the token that was sent for this answer.
    fn is_wanted(&self, answer: &Answer) -> bool {
        let known = self.with(|state| state.tokens.known.get(&answer.sent).cloned());
        match known.map(|known| known.id).map(|id| self.store.look(&id)) {
            Some(ClaimedDocument::Present { grant, .. }) => {
                grant.refresh_token.expose_secret() == answer.sent
            }
            _ => false,
        }
    }

    fn answer_lost(&self, answer: &Answer) {
        let (name, was_kept) = self.with(|state| {
            state.figures.lost_in_window += 1;
            state.tokens.replies_lost.insert(answer.sent.clone());
            state.tokens.doubted.insert(answer.sent.clone());
            let was_rescued = state.tokens.rescued_once.contains(&answer.successor);
            let was_journalled = self.plan.rescue_means == RescueMeans::Both
                && !state.tokens.unjournalled.contains(&answer.successor);
            (state.tokens.called(&answer.successor), was_rescued || was_journalled)
        });
        self.note(|| format!("{name} was with {} and is lost", answer.process));
        if was_kept {
            self.violate(format!("{name} was answered to {} and is nowhere", answer.process));
        }
    }

    /// Notes that a token may have been exchanged without a received answer.
    pub(crate) fn doubt(&self, token: &str) {
        self.with(|state| state.tokens.doubted.insert(token.to_owned()));
    }

    /// An unwritten answer of a process, if there is one.
    pub(crate) fn has_unwritten_answer(&self, process: &str) -> Option<String> {
        self.check_answers();
        self.with(|state| {
            let unwritten = state.tokens.answers.iter().find(|answer| answer.process == process);
            unwritten.map(|answer| state.tokens.called(&answer.successor))
        })
    }
}

impl State {
    /// Returns the name of the token whose reply is lost.
    fn lose_reply(&mut self, number: u64) -> Option<String> {
        let request = self.tokens.in_flight.remove(&number)?;
        let name = self.tokens.called(&request.sent);
        self.figures.lost_replies += 1;
        self.tokens.doubted.insert(request.sent.clone());
        if request.rotated {
            self.tokens.replies_lost.insert(request.sent);
        }
        Some(name)
    }
}
