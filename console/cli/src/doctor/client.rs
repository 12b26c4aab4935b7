//! Whether a provider accepts our client, which a request with a made-up token tells.

use std::sync::Arc;

use evergrant_domain::classify::classify;
use evergrant_domain::{DocumentFields, ExchangeFailure, Outcome};
use evergrant_provider::{ClientAuth, Provider, ProviderClient, TokenEndpoint};
use futures::future::join_all;
use secrecy::SecretString;

use super::row::{DoctorRow, Level};

/// No provider has issued it.
const MADE_UP: &str = "evergrant-doctor-made-up-token";

/// Sends one request of each client with a made-up token. A provider that refuses the token accepts the client.
pub(super) async fn try_clients(provider: &Provider) -> Vec<DoctorRow> {
    let what = format!("client of {}", provider.id);
    let mut clients = Vec::new();
    if provider.client.is_some() {
        clients.push((what.clone(), DocumentFields::new()));
    }
    for (name, client) in provider.tenants.all() {
        let fields = provider.tenants.field().map(|field| (field.to_owned(), name.clone()));
        clients.push((format!("{what}: {}", client.id), DocumentFields::from_iter(fields)));
    }
    join_all(clients.into_iter().map(|(what, fields)| try_client(provider, what, fields))).await
}

async fn try_client(provider: &Provider, what: String, fields: DocumentFields) -> DoctorRow {
    let client = match ProviderClient::new(Arc::new(provider.clone())) {
        Ok(client) => client,
        Err(error) => return DoctorRow::new(Level::Wrong, what, error.to_string()),
    };
    let (level, detail) = exchange_made_up(provider, &client, &fields).await;
    DoctorRow::new(level, what, detail)
}

/// Sends a made-up token for a document with these fields, and says what the answer tells of our client.
pub(crate) async fn exchange_made_up(
    provider: &Provider,
    client: &ProviderClient,
    fields: &DocumentFields,
) -> (Level, String) {
    let made_up = SecretString::from(MADE_UP);
    let exchange = client.exchange(&made_up, fields).await;
    let outcome = classify(exchange, &provider.dialect, provider.secrets(&made_up, fields));
    judge(&outcome, provider.client_auth)
}

fn judge(outcome: &Outcome, auth: ClientAuth) -> (Level, String) {
    let Some(failure) = outcome.failure() else {
        return (Level::Warning, "it took a made-up refresh token for a real one".to_owned());
    };
    let answer = answer(failure);
    match (outcome, failure.code.as_deref()) {
        (Outcome::GrantDead(_), _) => {
            (Level::Ok, format!("accepted: a made-up refresh token is refused with {answer}"))
        }
        (_, Some("invalid_client" | "unauthorized_client")) => {
            (Level::Wrong, refused(&answer, auth))
        }
        _ if failure.http_status == Some(401) => (Level::Wrong, refused(&answer, auth)),
        _ => (
            Level::Note,
            format!(
                "a made-up refresh token is answered with {answer}, which tells nothing of the client"
            ),
        ),
    }
}

fn refused(answer: &str, auth: ClientAuth) -> String {
    let has = auth.as_str();
    let other = if auth == ClientAuth::Basic { "body" } else { "basic" };
    format!(
        "refused with {answer}: check client_id and client_secret, and whether the provider wants \
         client_auth = \"{other}\" in place of \"{has}\""
    )
}

/// The status, code and words of an answer.
fn answer(failure: &ExchangeFailure) -> String {
    let status = failure.http_status.map(|status| status.to_string());
    let parts = [status, failure.code.clone(), failure.description.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
