//! A process's way to the provider.

use std::sync::Arc;

use async_trait::async_trait;
use evergrant_shared::domain::Exchange;
use evergrant_shared::domain::classify::Answer;
use evergrant_shared::provider::TokenEndpoint;
use evergrant_simulator::Reply;
use secrecy::{ExposeSecret, SecretString};

use super::process::Process;

/// The token endpoint as a process reaches it.
pub(crate) struct SimulatedEndpoint(pub(crate) Arc<Process>);

#[async_trait]
impl TokenEndpoint for SimulatedEndpoint {
    async fn exchange(&self, refresh_token: &SecretString) -> Exchange {
        let (process, world) = (&self.0, &self.0.world);
        process.live().await;
        let rates = &world.plan.rates;
        if world.chance(rates.crash) {
            process.crash();
            process.live().await;
        }
        if world.chance(rates.not_sent) {
            tokio::time::sleep(world.some_ms(0, 500)).await;
            process.live().await;
            return Exchange::NotSent("connection refused".to_owned());
        }
        world.spend();
        let number = world.request_sent(process, refresh_token.expose_secret());
        let exchanged = world.oauth.exchange(refresh_token.expose_secret());
        world.request_handled(number, successor(&exchanged.reply));
        let timeout = world.provider.request_timeout;
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

/// The new refresh token of a reply.
fn successor(reply: &Reply) -> Option<String> {
    let Reply::Whole { status: 200, body, .. } = reply else { return None };
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("refresh_token")?.as_str()?.to_owned())
}
