//! Logging in with the OpenID provider: the redirect there, and the return.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};

use super::login::{Login, TOO_MANY};
use super::oidc::{OidcError, OpenIdClient};
use super::session::Account;
use crate::Web;
use crate::address::local;
use crate::fields::Query;
use crate::page_context::{Effect, PageContext};
use crate::problem::Problem;

/// Sends a browser to the provider.
pub(crate) async fn begin(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    headers: HeaderMap,
    Query(query): Query,
) -> Result<Response, Problem> {
    let next = query.get("next").and_then(local).unwrap_or("/");
    let oidc = provider(&web)?;
    if seen.visit.identity.is_some() {
        return Ok(Redirect::to(next).into_response());
    }
    match oidc.begin(next).await {
        Ok((url, flow)) => Ok(Effect::AskProvider(flow).and_go(url.as_str())),
        Err(error) => turned_away(&web, &seen, Login::new(&web, &seen, &headers, next), &error),
    }
}

/// Handles a browser that returns from the provider.
pub(crate) async fn finish(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    headers: HeaderMap,
    Query(query): Query,
) -> Result<Response, Problem> {
    let oidc = provider(&web)?;
    let flow = web.door.cookies(&headers).flow();
    let state = query.get("state").unwrap_or_default();
    let Some(flow) = flow.filter(|flow| flow.is_answered_by(state)) else {
        let why = "The login took too long, or was begun in another browser or at another address of this \
                   console. Begin again.";
        let address = seen.visit.address;
        tracing::warn!(%address, "an OpenID provider's answer belongs to no login of this browser: refusing it");
        web.record.refuse_login(None, address, "the answer belongs to no login of this browser");
        return Login::new(&web, &seen, &headers, "/").refused(StatusCode::FORBIDDEN, why);
    };
    let (next, address) = (flow.next(), seen.visit.address);
    let page = Login::new(&web, &seen, &headers, next);
    if let Err(wait) = web.door.limits.check_network(address) {
        web.record.refuse_login(None, address, TOO_MANY);
        return page.too_many(wait);
    }
    let person = match (query.get("code"), query.get("error")) {
        _ if !oidc.is_issuer(query.get("iss")) => {
            Err(OidcError::Refused("the answer comes from another OpenID provider".to_owned()))
        }
        (Some(code), None) => oidc.finish(&flow, code).await,
        // RFC 6749 §4.1.2.1
        (_, Some("access_denied")) => {
            Err(OidcError::Refused("the login was cancelled at the OpenID provider".to_owned()))
        }
        (_, code) => Err(OidcError::refused_with(code.unwrap_or("no code"))),
    };
    match person {
        Ok(person) => {
            tracing::info!(user = person.name, subject = person.subject, %address, "logged in");
            Ok(Effect::LogIn(Account::OpenId(person)).and_go(next))
        }
        Err(error) => turned_away(&web, &seen, page, &error),
    }
}

fn provider(web: &Web) -> Result<&OpenIdClient, Problem> {
    web.door
        .oidc()
        .ok_or_else(|| Problem::not_found("This console has no logins with an OpenID provider."))
}

fn turned_away(
    web: &Web,
    seen: &PageContext,
    page: Login,
    error: &OidcError,
) -> Result<Response, Problem> {
    let address = seen.visit.address;
    tracing::warn!(%address, %error, "a login with the OpenID provider failed");
    let who = match error {
        OidcError::NoRole { name } => Some(name.as_str()),
        OidcError::Away(_) | OidcError::Refused(_) => None,
    };
    web.record.refuse_login(who, address, &error.to_string());
    let (status, text) = match error {
        OidcError::Away(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The OpenID provider is not available now. Try again in a moment; the console's log says \
             more.",
        ),
        OidcError::Refused(_) => (
            StatusCode::FORBIDDEN,
            "The OpenID provider did not confirm who you are. Try again; the console's log says why.",
        ),
        OidcError::NoRole { .. } => (
            StatusCode::FORBIDDEN,
            "The OpenID provider knows you, but you are in no group that may use this console. Whoever \
             runs it names the groups in console.oidc.",
        ),
    };
    page.refused(status, text)
}
