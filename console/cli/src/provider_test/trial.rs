//! Tries out a provider end to end: requests over HTTP to a simulator that speaks its dialect, and its answers read
//! as a worker reads them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evergrant_domain::classify::classify;
use evergrant_domain::{DocumentFields, Outcome};
use evergrant_provider::{
    AssertionKey, ClientAuth, PresetVector, Provider, ProviderClient, RegisteredClient,
    TenantClients, TokenEndpoint, VectorMeans,
};
use evergrant_simulator::{
    ClientKey, ProviderDialect, Simulator, SimulatorConfig, SimulatorHandle,
};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::step::TrialStep;
use super::subject::TrialSubject;

/// A made-up client, with letters that have to be encoded.
const CLIENT_ID: &str = "trial client:1";
const CLIENT_SECRET: &str = "s3cret +/&=%";

/// A provider and the simulator that stands for it.
struct Trial<'a> {
    subject: &'a TrialSubject,
    simulator: SimulatorHandle,
    provider: Provider,
    client: ProviderClient,
    fields: DocumentFields,
}

/// Tries out a provider.
///
/// # Errors
/// If its file tells no dialect, or no simulator can be started.
pub(crate) async fn try_out(subject: &TrialSubject) -> anyhow::Result<Vec<TrialStep>> {
    let key =
        ClientKey::generate().context("cannot make a key: this machine gives no randomness")?;
    let dialect = ProviderDialect::parse(&toml::to_string(&subject.file)?)?;
    let simulator = Simulator::bind(
        SimulatorConfig {
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            client_key: Some(key.clone()),
            dialect: Some(dialect),
            ..SimulatorConfig::default()
        },
        "127.0.0.1:0",
    )
    .await?;
    let (handle, url) = (simulator.handle(), Url::parse(&simulator.url())?);
    let stop = CancellationToken::new();
    let running = tokio::spawn(simulator.run(stop.clone().cancelled_owned()));
    let provider = stand_in(&subject.provider, &url, &key)?;
    let client = ProviderClient::new(Arc::new(provider.clone()))?;
    let fields = subject.provider.sample_document();
    let trial = Trial { subject, simulator: handle, provider, client, fields };
    let steps = trial.steps().await;
    // Connections that are kept open would hold the simulator up.
    drop(trial);
    stop.cancel();
    running.await??;
    steps
}

fn registered(id: &str, secret: &str) -> RegisteredClient {
    RegisteredClient { id: id.to_owned(), secret: Some(SecretString::from(secret)) }
}

/// The provider with its address at the simulator, and a client that the simulator knows.
fn stand_in(provider: &Provider, url: &Url, key: &ClientKey) -> anyhow::Result<Provider> {
    let mut provider = provider.clone();
    provider.token_url = provider.token_url.on_host(url).map_err(anyhow::Error::msg)?;
    // It is about what is asked and answered, not about how quickly this machine does so.
    provider.request_timeout = provider.request_timeout.max(Duration::from_secs(30));
    provider.http = provider.http.without_proxy();
    provider.client = Some(registered(CLIENT_ID, CLIENT_SECRET));
    provider.tenants = TenantClients::default();
    provider.client_key =
        Some(AssertionKey::read(&key.private_pem, None).map_err(anyhow::Error::msg)?);
    if provider.client_auth == ClientAuth::Certificate {
        // It is shown by TLS, which the simulator does not speak. The request is the same without it.
        provider.client_auth = ClientAuth::None;
        provider.client_certificate = None;
    }
    Ok(provider)
}

impl Trial<'_> {
    async fn steps(&self) -> anyhow::Result<Vec<TrialStep>> {
        let mut steps: Vec<TrialStep> = self.address().into_iter().collect();
        let token = self.sign_in("refreshed")?;
        let first = self.exchange(&token).await;
        steps.push(self.refreshed("refresh", &first, &token));
        steps.push(self.second(&token, first).await);
        let dead = self.sign_in("dead")?;
        self.simulator.revoke(&["dead"]);
        let outcome = self.exchange(&dead).await;
        steps.push(self.compare("a dead token", &outcome, VectorMeans::Dead));
        let token = self.sign_in("throttled")?;
        self.simulator.change(|settings| settings.faults.throttle_429 = 1.0)?;
        let outcome = self.exchange(&token).await;
        steps.push(self.compare("too many requests", &outcome, VectorMeans::Throttled));
        self.simulator.change(|settings| settings.faults.throttle_429 = 0.0)?;
        let outcome = self.as_wrong_client(&token).await?;
        let of_client = VectorMeans::ClientMisconfigured;
        let is_told = self.subject.vectors.iter().any(|vector| vector.means == of_client);
        let means = if is_told { of_client } else { VectorMeans::Refused };
        steps.push(self.compare("a wrong client", &outcome, means));
        Ok(steps)
    }

    /// Where the fields of a document lead. None if all documents have one address.
    fn address(&self) -> Option<TrialStep> {
        let of_subject = &self.subject.provider.token_url;
        let provider = Provider { token_url: of_subject.clone(), ..self.provider.clone() };
        if provider.token_url.fixed().is_some() {
            return None;
        }
        let elsewhere: DocumentFields = self
            .fields
            .keys()
            .map(|path| (path.clone(), "elsewhere.invalid/".to_owned()))
            .collect();
        let url = provider.token_url.as_str();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let chooses_host = rest.split('/').next().is_some_and(|host| host.contains('{'));
        let (own, other) =
            (provider.check_document(&self.fields), provider.check_document(&elsewhere));
        let ok = own.is_ok() && (!chooses_host || other.is_err());
        let became = match (own, other) {
            (Err(why), _) => why,
            (Ok(()), Err(why)) => format!("a document of its own is sent; of another: {why}"),
            (Ok(()), Ok(())) => "each document leads to a path of the same host".to_owned(),
        };
        let expected = "documents lead to token_hosts and nowhere else".to_owned();
        Some(TrialStep { ok, tried: "address", expected, became })
    }

    /// What the next refresh comes to: with the new refresh token, after which the old one is dead; or with
    /// the same.
    async fn second(&self, token: &SecretString, first: Outcome) -> TrialStep {
        let new = match first {
            Outcome::Refreshed(tokens) => tokens.refresh_token,
            _ => None,
        };
        let new = new.filter(|new| new.expose_secret() != token.expose_secret());
        let rotation = self.subject.file.get("rotation").and_then(toml::Value::as_str);
        let wrong = |became: &str| TrialStep {
            ok: false,
            tried: "another refresh",
            expected: format!("rotation is {}", rotation.unwrap_or("not told")),
            became: became.to_owned(),
        };
        let Some(new) = new else {
            if rotation == Some("always") {
                return wrong("no other refresh token came");
            }
            let again = self.exchange(token).await;
            return self.refreshed("another refresh", &again, token);
        };
        if rotation == Some("never") {
            return wrong("another refresh token came");
        }
        let again = self.refreshed("another refresh", &self.exchange(&new).await, &new);
        if !again.ok {
            return again;
        }
        let old = self.exchange(token).await;
        let old = self.compare("the rotated token", &old, VectorMeans::Dead);
        let became = format!("{}; the token before it is {}", again.became, old.became);
        if old.ok { TrialStep { became, ..again } } else { old }
    }

    /// A refresh of a good token. What it brings must be good at the provider.
    fn refreshed(&self, tried: &'static str, outcome: &Outcome, sent: &SecretString) -> TrialStep {
        let step = self.compare(tried, outcome, VectorMeans::Refreshed);
        let Outcome::Refreshed(tokens) = outcome else { return step };
        let kept = tokens.refresh_token.as_ref().unwrap_or(sent);
        let state = self.simulator.token_state(kept.expose_secret());
        if state == evergrant_simulator::TokenState::Live {
            return step;
        }
        TrialStep { ok: false, became: format!("the token that is kept is {state:?}"), ..step }
    }

    fn compare(&self, tried: &'static str, outcome: &Outcome, means: VectorMeans) -> TrialStep {
        let fits = |vector: &&PresetVector| vector.means == means;
        let mut vectors: Vec<&PresetVector> = self.subject.vectors.iter().filter(fits).collect();
        if means != VectorMeans::Refreshed {
            // The simulator answers with the first of these.
            vectors.truncate(1);
        }
        TrialStep::compare(tried, outcome, &vectors, self.simulator.refusals().pop())
    }

    async fn exchange(&self, token: &SecretString) -> Outcome {
        let exchange = self.client.exchange(token, &self.fields).await;
        classify(exchange, &self.provider.dialect, self.provider.secrets(token, &self.fields))
    }

    /// The same as a client that the provider does not know.
    async fn as_wrong_client(&self, token: &SecretString) -> anyhow::Result<Outcome> {
        let mut provider = self.provider.clone();
        match provider.client_auth {
            ClientAuth::None => {
                provider.client = Some(registered("another client", CLIENT_SECRET));
            }
            ClientAuth::PrivateKeyJwt => {
                let key = ClientKey::generate().context("cannot make a key")?;
                let key = AssertionKey::read(&key.private_pem, None).map_err(anyhow::Error::msg)?;
                provider.client_key = Some(key);
            }
            _ => provider.client = Some(registered(CLIENT_ID, "another secret")),
        }
        let client = ProviderClient::new(Arc::new(provider.clone()))?;
        let exchange = client.exchange(token, &self.fields).await;
        Ok(classify(exchange, &provider.dialect, provider.secrets(token, &self.fields)))
    }

    fn sign_in(&self, user: &str) -> anyhow::Result<SecretString> {
        let document = serde_json::to_value(self.simulator.sign_in(user))?;
        let token = document["refresh_token"].as_str().context("the simulator gave no token")?;
        Ok(SecretString::from(token))
    }
}
