//! The provider client and the classification, with a misbehaving provider.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::{DocumentFields, Outcome, classify};
use evergrant_provider::{Provider, ProviderClient, TokenEndpoint};
use evergrant_runtime::config::Config;
use evergrant_simulator::{FaultRates, Simulator, SimulatorHandle, SimulatorSettings};
use secrecy::{ExposeSecret, SecretString};

/// A provider, a client of it and a token to exchange.
struct Case {
    handle: SimulatorHandle,
    provider: Arc<Provider>,
    client: ProviderClient,
    token: SecretString,
}

impl Case {
    async fn new(settings: SimulatorSettings, more: &[(&str, &str)]) -> Self {
        let config = evergrant_simulator::SimulatorConfig { settings, ..Default::default() };
        let simulator = Simulator::bind(config, "127.0.0.1:0").await.unwrap();
        let (handle, url) = (simulator.handle(), format!("{}/token", simulator.url()));
        tokio::spawn(simulator.run(std::future::pending()));
        let variables = [
            ("TOKEN_URL", url.as_str()),
            ("CLIENT_ID", "evergrant"),
            ("CLIENT_SECRET", "evergrant-simulator-secret"),
            ("REQUEST_TIMEOUT", "1s"),
        ];
        let variables = variables.iter().chain(more).map(|(name, value)| {
            (format!("EVERGRANT_PROVIDERS__P__{name}").into(), (*value).to_owned().into())
        });
        let config = Config::from_parts(None, variables, &[]).unwrap();
        let provider = Arc::new(config.providers().unwrap().remove(0));
        let client = ProviderClient::new(Arc::clone(&provider)).unwrap();
        let document = serde_json::to_value(handle.sign_in("user")).unwrap();
        let token = SecretString::from(document["refresh_token"].as_str().unwrap());
        Self { handle, provider, client, token }
    }

    async fn exchange(&self) -> Outcome {
        let fields = DocumentFields::new();
        let exchange = self.client.exchange(&self.token, &fields).await;
        classify(exchange, &self.provider.dialect, self.provider.secrets(&self.token, &fields))
    }
}

fn always(set: impl FnOnce(&mut FaultRates)) -> SimulatorSettings {
    let mut settings = SimulatorSettings::default();
    set(&mut settings.faults);
    settings
}

#[tokio::test]
async fn every_client_authentication_method_works() {
    for auth in ["basic", "body"] {
        let case = Case::new(SimulatorSettings::default(), &[("CLIENT_AUTH", auth)]).await;
        let Outcome::Refreshed(tokens) = case.exchange().await else { panic!("{auth}") };
        let new = tokens.refresh_token.expect("it rotates");
        assert_ne!(new.expose_secret(), case.token.expose_secret());
        assert!(tokens.ends.access.is_some());
    }
}

#[tokio::test]
async fn each_fault_is_told_for_what_it_is() {
    let cases: Vec<(&str, SimulatorSettings)> = vec![
        ("transient", always(|faults| faults.http_500 = 1.0)),
        ("transient", always(|faults| faults.http_503 = 1.0)),
        ("ambiguous", always(|faults| faults.html_error = 1.0)),
        ("ambiguous", always(|faults| faults.reset_before = 1.0)),
        ("ambiguous", always(|faults| faults.reset_after = 1.0)),
        ("ambiguous", always(|faults| faults.no_reply = 1.0)),
        ("ambiguous", always(|faults| faults.truncated_body = 1.0)),
        ("grant_dead", always(|faults| faults.ok_with_error = 1.0)),
        ("grant_dead", always(|faults| faults.invalid_grant = 1.0)),
        ("refused", always(|faults| faults.invalid_client = 1.0)),
        ("transient", always(|faults| faults.echo_token = 1.0)),
        ("throttled", always(|faults| faults.throttle_429 = 1.0)),
        ("refreshed", always(|faults| faults.expires_in_string = 1.0)),
        ("refreshed", always(|faults| faults.expires_in_missing = 1.0)),
        ("refreshed", always(|faults| faults.no_new_refresh_token = 1.0)),
    ];
    for (expected, settings) in cases {
        let case = Case::new(settings.clone(), &[]).await;
        let outcome = case.exchange().await;
        assert_eq!(outcome.name(), expected, "{:?}", settings.faults);
        let told = format!("{outcome:?}").to_lowercase();
        for secret in ["evgsim_", "evergrant-simulator-secret", &case.token.expose_secret()[10..18]]
        {
            assert!(!told.contains(&secret.to_lowercase()), "{told}");
        }
    }
}

#[tokio::test]
async fn a_wrong_secret_blames_the_client() {
    let case = Case::new(SimulatorSettings::default(), &[("CLIENT_SECRET", "wrong")]).await;
    assert_eq!(case.exchange().await.name(), "refused");
    assert_eq!(case.handle.stats().exchanges, 0);
}

#[tokio::test]
async fn an_unreachable_provider_spends_no_token() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    drop(listener);
    let case = Case::new(SimulatorSettings::default(), &[("TOKEN_URL", &url)]).await;
    assert_eq!(case.exchange().await.name(), "transient");
}

#[tokio::test]
async fn a_limit_says_how_long_to_wait() {
    let settings = SimulatorSettings {
        limits: vec!["1/min".parse().unwrap()],
        ..SimulatorSettings::default()
    };
    let case = Case::new(settings, &[]).await;
    assert_eq!(case.exchange().await.name(), "refreshed");
    let Outcome::Throttled(failure, _) = case.exchange().await else { panic!("not throttled") };
    let wait = Duration::from_millis(failure.retry_after_ms.expect("Retry-After"));
    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
}
