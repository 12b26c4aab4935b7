//! A scripted answer at the provider: the ledger does to the token what the script says, then the
//! answer is written.

use super::answer::{Answer, Manner, TokenUse};
use super::body::Words;
use super::play::{Choice, Occasion, Play};
use super::requirement::SeenRequest;
use crate::draw::{self, Purpose};
use crate::ledger::{DeathCause, Exchange, Grant, Terms, TokenState};
use crate::oauth::{self, TokenRequest};
use crate::provider::{self, Delivery, PresentationResult, Provider, RawRequest};
use crate::requests::RequestRecord;
use crate::settings::SimulatorSettings;
use crate::stats::AnswerKind;
use crate::token::TokenId;

/// Rules are numbered beneath this, so that each has draws of its own.
const RULES_MAX: u64 = 1 << 20;

/// What was done in the ledger, and what is to be told of it.
struct Performance {
    choice: Option<Choice>,
    exchange: Option<Exchange>,
    user: Option<String>,
    state: TokenState,
    subject: (u64, u64),
}

impl Provider {
    /// Reads a request as the script wants it. `Err` is the answer to one that lacks something.
    pub(crate) fn read_as_scripted<'a>(
        &self,
        play: &Play,
        raw: RawRequest<'a>,
        now_us: u64,
    ) -> Result<TokenRequest<'a>, Box<provider::Answer>> {
        let request = SeenRequest::read(raw);
        let presented = request.parameter("refresh_token").unwrap_or("").to_owned();
        match play.refusal(&request, &self.client) {
            None => Ok(TokenRequest {
                refresh_token: presented.into(),
                scope: self.scope.clone().into(),
            }),
            Some(answer) => {
                let id = self.codec.open_refresh_token(&presented);
                let (user, state) = self.worth(id, now_us / 1_000);
                let words = Words { presented, now_s: now_us / 1_000_000, ..Words::default() };
                let settings = self.settings();
                let answer = delivered(&answer, &words, &settings, 0, AnswerKind::InvalidRequest);
                self.requests.note(RequestRecord::new(now_us, user, state, None, &answer));
                Err(Box::new(answer))
            }
        }
    }

    /// Answers a presentation while a script is played.
    pub(crate) fn perform(
        &self,
        play: &Play,
        request: &TokenRequest<'_>,
        settings: &SimulatorSettings,
        now_us: u64,
    ) -> provider::Answer {
        let id = self.codec.open_refresh_token(&request.refresh_token);
        let performance = self.apply(play, id, settings, now_us);
        let Performance { choice, exchange, user, state, subject } = performance;
        let Some(Choice { answer: scripted, rule }) = choice else {
            let answer = self.refresh(request, settings, now_us);
            self.requests.note(RequestRecord::new(now_us, user, state, None, &answer));
            return answer;
        };
        self.count(&PresentationResult { fault: None, exchange, subject });
        let successor = match exchange {
            Some(Exchange::Rotated { number, .. }) => id.map(|id| TokenId { number, ..id }),
            Some(Exchange::Kept) => id,
            _ => None,
        };
        let latency_ms = self.latency_ms(settings, subject);
        let mut answer = if successor.is_none() && scripted.needs_tokens() {
            // There are no tokens to give: whatever the rule says, this one is not accepted.
            let reply = oauth::dead(settings.dead_reply);
            let delivery = Delivery::Reply(reply);
            provider::Answer { kind: AnswerKind::InvalidGrant, delivery, latency_ms, grant: None }
        } else {
            let token = |of: fn(&Self, TokenId) -> String| successor.map(|id| of(self, id));
            let words = Words {
                access_token: token(|provider, id| {
                    provider.codec.access_token(id, provider.clock.now_us() as u32)
                })
                .unwrap_or_default(),
                refresh_token: token(|provider, id| provider.codec.refresh_token(id))
                    .unwrap_or_default(),
                presented: request.refresh_token.to_string(),
                user: user.clone().unwrap_or_default(),
                now_s: now_us / 1_000_000,
                access_token_s: settings.access_token_s,
            };
            let kind = kind(&scripted, exchange);
            delivered(&scripted, &words, settings, latency_ms, kind)
        };
        answer.grant = successor.map(|id| id.grant);
        self.requests.note(RequestRecord::new(now_us, user, state, rule, &answer));
        answer
    }

    /// Chooses the answer and does to the token what it says, in one step.
    fn apply(
        &self,
        play: &Play,
        id: Option<TokenId>,
        settings: &SimulatorSettings,
        now_us: u64,
    ) -> Performance {
        let (terms, now_ms) = (Terms::from(settings), now_us / 1_000);
        let of_a_grant = |id: TokenId| {
            self.ledger.with(id.grant, |grant| {
                let state = TokenState::from_grant(grant, id.number, now_ms);
                let user = grant.user.to_string();
                let subject = (u64::from(id.grant), u64::from(grant.presentations) + 1);
                let draw = |rule: usize| self.scripted_draw(rule, subject);
                let choice = play.choose(&Occasion { user: &user, state, now_us, draw });
                let exchange = choice.as_ref().and_then(|choice| {
                    grant.present();
                    exchanged(grant, id.number, state, choice.answer.token_use(), now_ms, &terms)
                });
                Performance { choice, exchange, user: Some(user), state, subject }
            })
        };
        id.and_then(of_a_grant).unwrap_or_else(|| {
            let subject = (u64::MAX, now_us);
            let draw = |rule: usize| self.scripted_draw(rule, subject);
            let state = TokenState::Unknown;
            let choice = play.choose(&Occasion { user: "", state, now_us, draw });
            Performance { choice, exchange: Some(Exchange::Unknown), user: None, state, subject }
        })
    }

    fn scripted_draw(&self, rule: usize, (grant, presentation): (u64, u64)) -> f64 {
        let attempt = presentation.wrapping_mul(RULES_MAX).wrapping_add(rule as u64);
        draw::unit(self.seed, Purpose::ScriptedShare, grant, attempt)
    }

    /// Whose a token is, and what it is worth.
    fn worth(&self, id: Option<TokenId>, now_ms: u64) -> (Option<String>, TokenState) {
        let found = id.and_then(|id| {
            self.ledger.with(id.grant, |grant| {
                (Some(grant.user.to_string()), TokenState::from_grant(grant, id.number, now_ms))
            })
        });
        found.unwrap_or((None, TokenState::Unknown))
    }
}

/// What a presentation does to its grant. None if nothing is exchanged.
fn exchanged(
    grant: &mut Grant,
    number: u32,
    state: TokenState,
    token_use: TokenUse,
    now_ms: u64,
    terms: &Terms,
) -> Option<Exchange> {
    let is_good = matches!(state, TokenState::Live | TokenState::InGrace);
    match token_use {
        TokenUse::Leave if is_good => None,
        TokenUse::Keep => Some(grant.exchange(number, true, now_ms, terms)),
        TokenUse::Revoke => {
            if is_good {
                grant.kill(DeathCause::Fault, now_ms);
            }
            Some(grant.exchange(number, false, now_ms, terms))
        }
        TokenUse::Rotate | TokenUse::Leave => Some(grant.exchange(number, false, now_ms, terms)),
    }
}

/// How an answer counts in the statistics.
fn kind(answer: &Answer, exchange: Option<Exchange>) -> AnswerKind {
    if answer.delivery != Manner::Whole {
        return AnswerKind::Unanswered;
    }
    match (exchange, answer.status.unwrap_or(200)) {
        (Some(Exchange::Rotated { .. } | Exchange::Kept), 200..=299) => AnswerKind::Refreshed,
        (Some(Exchange::Reused | Exchange::Dead | Exchange::Unknown), _) => {
            AnswerKind::InvalidGrant
        }
        (_, 429) => AnswerKind::Throttled,
        (_, 500..) => AnswerKind::ServerError,
        (_, 401) => AnswerKind::InvalidClient,
        _ => AnswerKind::InvalidRequest,
    }
}

fn delivered(
    answer: &Answer,
    words: &Words,
    settings: &SimulatorSettings,
    latency_ms: u64,
    kind: AnswerKind,
) -> provider::Answer {
    let reply = answer.reply(words);
    let delivery = match answer.delivery {
        Manner::Whole => Delivery::Reply(reply),
        Manner::Half => Delivery::Truncated(reply),
        Manner::Reset => Delivery::Reset,
        Manner::Silence => Delivery::Silence { hold_s: settings.no_reply_hold_s },
    };
    let latency_ms = latency_ms + answer.delay_ms;
    provider::Answer { kind, delivery, latency_ms, grant: None }
}

#[cfg(test)]
mod tests;
