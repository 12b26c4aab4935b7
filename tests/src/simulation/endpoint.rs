//! A process's way to the provider.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use evergrant_shared::domain::Exchange;
use evergrant_shared::domain::classify::Answer;
use evergrant_shared::provider::{Provider, TokenEndpoint};
use evergrant_simulator::Reply;
use secrecy::{ExposeSecret, SecretString};

use super::people::sign_in_again;
use super::process::Process;
use super::world::World;
use super::{Fault, Sabotage};

/// The token endpoint as a process reaches it.
pub(crate) struct SimulatedEndpoint {
    pub(crate) process: Arc<Process>,
    pub(crate) provider: Arc<Provider>,
}

#[async_trait]
impl TokenEndpoint for SimulatedEndpoint {
    async fn exchange(&self, refresh_token: &SecretString) -> Exchange {
        let exchange = self.send(refresh_token).await;
        let is_unanswered = matches!(exchange, Exchange::NoAnswer(_));
        if is_unanswered && self.process.world.is_broken_by(Sabotage::HiddenResend) {
            return self.send(refresh_token).await;
        }
        exchange
    }
}

impl SimulatedEndpoint {
    async fn send(&self, refresh_token: &SecretString) -> Exchange {
        let (process, world) = (&self.process, &self.process.world);
        process.live().await;
        let rates = &world.plan.rates;
        if world.chance(rates.crash) {
            process.crash();
            process.live().await;
        }
        if world.chance(rates.not_sent) {
            world.reached(Fault::NotSent);
            tokio::time::sleep(world.some_ms(0, 500)).await;
            process.live().await;
            return Exchange::NotSent("connection refused".to_owned());
        }
        world.spend(&self.provider.id);
        let number = world.request_sent(process, &self.provider.id, refresh_token.expose_secret());
        let answer = world.stormy_answer(&self.provider.id);
        if let Some(answer) =
            answer.or_else(|| world.poisoned_answer(refresh_token.expose_secret()))
        {
            tokio::time::sleep(Duration::from_millis(world.plan.latency_ms)).await;
            process.live().await;
            world.reply_arrived(number);
            return Exchange::Answered(answer);
        }
        let exchanged = world.oauth.exchange(refresh_token.expose_secret());
        world.request_handled(number, successor(&exchanged.reply));
        let timeout = self.provider.request_timeout;
        tokio::time::sleep(exchanged.latency.min(timeout)).await;
        process.live().await;
        if world.chance(rates.crash) {
            process.crash();
            process.live().await;
        }
        match exchanged.reply {
            Reply::Whole { status, retry_after, body } if exchanged.latency <= timeout => {
                world.note(|| format!("{}: the provider answers {status}", process.name));
                if matches!(status, 502 | 504) {
                    // From a gateway, which tells nothing of what the provider behind it did.
                    world.doubt(refresh_token.expose_secret());
                }
                world.reply_arrived(number);
                if matches!(status, 200..=499) && says_dead(&body) {
                    world.told_dead(refresh_token.expose_secret());
                    if world.chance(rates.sign_in_at_death) {
                        world.sign_in_of(refresh_token.expose_secret());
                    }
                }
                let retry_after_s = retry_after.and_then(|value| value.parse::<u64>().ok());
                let retry_after_ms = retry_after_s.map(|seconds| seconds * 1_000);
                Exchange::Answered(Answer { status, retry_after_ms, body })
            }
            reply => {
                if matches!(reply, Reply::Silence(_)) {
                    tokio::time::sleep(timeout.saturating_sub(exchanged.latency)).await;
                    process.live().await;
                }
                world.reply_lost(number);
                Exchange::NoAnswer("the connection ended".to_owned())
            }
        }
    }
}

impl World {
    /// The user of a token has seen an error too, and signs in again.
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

/// Whether a reply says that the grant is dead.
fn says_dead(body: &[u8]) -> bool {
    let body = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    matches!(body["error"].as_str(), Some("invalid_grant" | "bad_refresh_token"))
}

/// The new refresh token of a reply.
fn successor(reply: &Reply) -> Option<String> {
    let Reply::Whole { status: 200, body, .. } = reply else { return None };
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("refresh_token")?.as_str()?.to_owned())
}
