//! A process's connection to the provider.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use evergrant_domain::classify::HttpAnswer;
use evergrant_domain::{DocumentFields, ExchangeResult, ProviderId};
use evergrant_provider::{Provider, TokenEndpoint};
use evergrant_simulator::ClientReply;
use secrecy::{ExposeSecret, SecretString};

use super::people::sign_in_again;
use super::process::Process;
use super::world::World;
use super::{Fault, Sabotage};

/// The token endpoint, as a process reaches it.
pub(crate) struct SimulatedEndpoint {
    pub(crate) process: Arc<Process>,
    pub(crate) provider: Arc<Provider>,
}

#[async_trait]
impl TokenEndpoint for SimulatedEndpoint {
    async fn exchange(&self, refresh_token: &SecretString, _: &DocumentFields) -> ExchangeResult {
        let exchange = self.send(refresh_token).await;
        let is_unanswered = matches!(exchange, ExchangeResult::NoAnswer(_));
        if is_unanswered && self.process.world.is_broken_by(Sabotage::HiddenResend) {
            return self.send(refresh_token).await;
        }
        exchange
    }
}

impl SimulatedEndpoint {
    async fn send(&self, refresh_token: &SecretString) -> ExchangeResult {
        let (process, world) = (&self.process, &self.process.world);
        process.survive().await;
        let rates = &world.plan.rates;
        if world.chance(rates.crash) {
            process.crash();
            process.live().await;
        }
        if world.chance(rates.not_sent) {
            world.reached(Fault::NotSent);
            tokio::time::sleep(world.some_ms(0, 500)).await;
            process.live().await;
            return ExchangeResult::NotSent("connection refused".to_owned());
        }
        world.spend(&self.provider.id);
        let (provider, token) = (&self.provider.id, refresh_token.expose_secret());
        world.check_heeds(process, provider);
        let number = world.request_sent(process, provider, token);
        let times_let_go_on = world.times_let_go_on(provider);
        if let Some(answer) = world.answer_unasked(provider, token) {
            tokio::time::sleep(Duration::from_millis(world.plan.latency_ms)).await;
            process.live().await;
            world.reply_arrived(number);
            match answer.status {
                429 => world.told_to_wait(process, provider, token),
                401 => world.told_wrong(process, provider, token),
                _ => {}
            }
            return ExchangeResult::Answered(answer);
        }
        let is_unreadable = world.is_unreadable(provider);
        let exchanged = world.oauth.exchange(token);
        let successor = successor(&exchanged.reply);
        let is_unreadable = is_unreadable && successor.is_some();
        world.request_handled(number, successor.filter(|_| !is_unreadable));
        let timeout = self.provider.request_timeout;
        tokio::time::sleep(exchanged.latency.min(timeout)).await;
        process.live().await;
        if world.chance(rates.crash) {
            process.crash();
            process.live().await;
        }
        match exchanged.reply {
            ClientReply::Whole { status, retry_after, body } if exchanged.latency <= timeout => {
                world.note(|| {
                    let name = world.with(|state| state.tokens.called(token));
                    let error = error_of(&body).unwrap_or_default();
                    format!("{}: the provider answers {status} {error} to {name}", process.name)
                });
                if matches!(status, 502 | 504) {
                    // From a gateway, which does not know what the provider behind it did.
                    world.doubt(token);
                }
                world.reply_arrived(number);
                if is_unreadable {
                    world.told_unreadably(process, provider, token, times_let_go_on);
                    let body = [b"{\"data\":", &body[..], b"}"].concat();
                    return ExchangeResult::Answered(HttpAnswer {
                        status,
                        retry_after_ms: None,
                        body,
                    });
                }
                if status == 200 {
                    world.told_well(process, provider);
                }
                if matches!(status, 200..=499) && says_dead(&body) {
                    world.told_dead(token);
                    if world.chance(rates.sign_in_at_death) {
                        world.sign_in_of(token);
                    }
                }
                let retry_after_s = retry_after.and_then(|value| value.parse::<u64>().ok());
                let retry_after_ms = retry_after_s.map(|seconds| seconds * 1_000);
                ExchangeResult::Answered(HttpAnswer { status, retry_after_ms, body })
            }
            reply => {
                if matches!(reply, ClientReply::Silence(_)) {
                    tokio::time::sleep(timeout.saturating_sub(exchanged.latency)).await;
                    process.live().await;
                }
                world.reply_lost(number);
                ExchangeResult::NoAnswer("the connection ended".to_owned())
            }
        }
    }
}

impl World {
    /// The answer of a provider that ignores the token.
    fn answer_unasked(&self, provider: &ProviderId, token: &str) -> Option<HttpAnswer> {
        let answer = self.stormy_answer(provider).or_else(|| self.poisoned_answer(token));
        answer.or_else(|| self.dead_for_once(token))
    }

    /// The provider once reports a valid grant as dead, but only to workers that ask again.
    fn dead_for_once(&self, token: &str) -> Option<HttpAnswer> {
        let is_looked_at_again = !self.plan.death_recheck.is_zero();
        // The confirmation could meet a storm in which all grants are reported as dead.
        let is_alone = self.plan.pauses.storm.is_none();
        let is_wrong = is_looked_at_again && is_alone && self.chance(self.plan.rates.dead_for_once);
        if !is_wrong || !self.with(|state| state.tokens.slandered.insert(token.to_owned())) {
            return None;
        }
        self.reached(Fault::DeadForOnce);
        let body = br#"{"error":"invalid_grant"}"#.to_vec();
        Some(HttpAnswer { status: 400, retry_after_ms: None, body })
    }

    /// The token's user has seen an error too, and signs in again.
    fn sign_in_of(&self, token: &str) {
        let found = self.with(|state| {
            let id = state.tokens.document_of(token)?;
            let user = state.users.get(&id).cloned()?;
            Some((id, user))
        });
        if let Some((id, user)) = found {
            sign_in_again(self, &id, &user);
        }
    }
}

/// Whether a reply reports that the grant is dead.
fn says_dead(body: &[u8]) -> bool {
    matches!(error_of(body).as_deref(), Some("invalid_grant" | "bad_refresh_token"))
}

/// The code of the error in a reply.
fn error_of(body: &[u8]) -> Option<String> {
    let body = serde_json::from_slice::<serde_json::Value>(body).ok()?;
    body["error"].as_str().map(str::to_owned)
}

/// The new refresh token of a reply.
fn successor(reply: &ClientReply) -> Option<String> {
    let ClientReply::Whole { status: 200, body, .. } = reply else { return None };
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("refresh_token")?.as_str()?.to_owned())
}
