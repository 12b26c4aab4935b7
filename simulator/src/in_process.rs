//! The token endpoint without a server, for a client in the same process.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::TimeSource;
use crate::config::SimulatorConfig;
use crate::handle::SimulatorHandle;
use crate::oauth;
use crate::provider::{Delivery, Provider, RawRequest};
use crate::settings_error::SettingsError;

/// What became of a request. The provider has done its part by the time it is asked; the client
/// learns of it later, or never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeReply {
    /// How long the client waits for the reply, or for the end of the connection.
    pub latency: Duration,
    /// What the client sees then.
    pub reply: ClientReply,
}

/// What a client sees of a reply.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientReply {
    /// All of it.
    Whole {
        /// The HTTP status.
        status: u16,
        /// The value of `Retry-After`.
        retry_after: Option<String>,
        /// The body. It may hold tokens.
        body: Vec<u8>,
    },
    /// The connection ends, before the reply or in the midst of it.
    Broken,
    /// Nothing, for this long after the latency; then the connection ends.
    Silence(Duration),
}

impl std::fmt::Debug for ClientReply {
    /// Shows no token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole { status, .. } => write!(f, "Whole({status})"),
            Self::Broken => f.write_str("Broken"),
            Self::Silence(hold) => write!(f, "Silence({hold:?})"),
        }
    }
}

impl SimulatorHandle {
    /// A provider that no server stands in front of: [`Self::exchange`] reaches it.
    ///
    /// # Errors
    /// If the settings cannot be.
    pub fn without_server(
        config: SimulatorConfig,
        clock: Arc<dyn TimeSource>,
    ) -> Result<Self, SettingsError> {
        config.settings.validate()?;
        Ok(Self { provider: Arc::new(Provider::new(config, clock)) })
    }

    /// Asks for new tokens as `POST /token` does, by the client's own id and secret. The token is
    /// rotated at once, whether or not the caller waits for the reply.
    pub fn exchange(&self, refresh_token: &str) -> ExchangeReply {
        let client = &self.provider.client;
        let form = oauth::refresh_form(client, refresh_token);
        self.provider.counters.begin().finish();
        let answer = self.provider.answer(RawRequest::post(
            &[("content-type", "application/x-www-form-urlencoded")],
            form.as_bytes(),
        ));
        let reply = match answer.delivery {
            Delivery::Reply(reply) => ClientReply::Whole {
                status: reply.status,
                retry_after: reply.retry_after,
                body: reply.body,
            },
            Delivery::Truncated(_) | Delivery::Reset => ClientReply::Broken,
            Delivery::Silence { hold_s } => ClientReply::Silence(Duration::from_secs(hold_s)),
        };
        ExchangeReply { latency: Duration::from_millis(answer.latency_ms), reply }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RuntimeClock;
    use crate::faults::FaultRates;
    use crate::ledger::TokenState;
    use crate::settings::SimulatorSettings;

    fn provider(settings: SimulatorSettings) -> (SimulatorHandle, String) {
        let config = SimulatorConfig { settings, ..SimulatorConfig::default() };
        let clock = Arc::new(RuntimeClock::at_ms(1_700_000_000_000));
        let handle = SimulatorHandle::without_server(config, clock).unwrap();
        let document = serde_json::to_value(handle.sign_in("user")).unwrap();
        let token = document["refresh_token"].as_str().unwrap().to_owned();
        (handle, token)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_exchanged_without_a_server_and_its_reply_takes_its_time() {
        let (handle, token) =
            provider(SimulatorSettings { latency_ms: 30, ..SimulatorSettings::default() });
        let exchanged = handle.exchange(&token);
        assert_eq!(exchanged.latency, Duration::from_millis(30));
        let ClientReply::Whole { status: 200, body, .. } = exchanged.reply else {
            panic!("no reply")
        };
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let new = body["refresh_token"].as_str().unwrap();
        assert_eq!(handle.token_state(new), TokenState::Live);
        assert_eq!(handle.token_state(&token), TokenState::Rotated);
        assert_eq!(handle.stats().requests, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_reply_has_rotated_all_the_same() {
        let faults = FaultRates { no_reply: 1.0, ..FaultRates::default() };
        let (handle, token) =
            provider(SimulatorSettings { faults, ..SimulatorSettings::default() });
        assert!(matches!(handle.exchange(&token).reply, ClientReply::Silence(_)));
        assert_eq!(handle.token_state(&token), TokenState::Rotated);
    }

    #[tokio::test(start_paused = true)]
    async fn a_grace_ends_by_the_runtimes_time() {
        let (handle, token) =
            provider(SimulatorSettings { grace_s: 60, ..SimulatorSettings::default() });
        handle.exchange(&token);
        assert_eq!(handle.token_state(&token), TokenState::InGrace);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(handle.token_state(&token), TokenState::Rotated);
    }
}
