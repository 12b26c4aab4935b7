//! Tokens: of a grant, of a user, and by force.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use evergrant_domain::StoredToken;
use evergrant_domain::api_key::KeyScope;
use evergrant_ports::GrantFilter;
use futures::TryStreamExt;
use http::HeaderMap;

use super::{PathId, document_id};
use crate::Gateway;
use crate::caller::Caller;
use crate::metrics::AnswerOutcome;
use crate::refusal::Refusal;
use crate::token_answer::answer;
use crate::token_query::{TokenQuery, TokenWish};
use crate::token_service::TokenOrigin;

type TokenQueryResult = Result<Query<TokenQuery>, QueryRejection>;

/// Grants of one user that are looked at: enough to say that there are several.
const CANDIDATES_MAX: u64 = 20;

/// `GET /v1/grants/{id}/token`
pub(super) async fn of_grant(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    id: PathId,
    query: TokenQueryResult,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    caller.require(KeyScope::Token)?;
    let wish = read(query)?.of_one_grant()?.wish()?;
    let stored = caller.reach(gateway.tokens.stored(&document_id(id)?).await?)?;
    hand_out(&gateway, &caller, stored, wish, &headers).await
}

/// `GET /v1/token?user=…&provider=…`
pub(super) async fn of_user(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    query: TokenQueryResult,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    caller.require(KeyScope::Token)?;
    let query = read(query)?;
    let wish = query.wish()?;
    let stored = grant_of(&gateway, &caller, &query).await?;
    hand_out(&gateway, &caller, stored, wish, &headers).await
}

/// `POST /v1/grants/{id}/refresh`
pub(super) async fn refresh(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    id: PathId,
    query: TokenQueryResult,
) -> Result<Response, Refusal> {
    caller.require(KeyScope::Token)?;
    let wish = read(query)?.of_one_grant()?.wish()?;
    let stored = caller.reach(gateway.tokens.stored(&document_id(id)?).await?)?;
    let wish = TokenWish { newer_than: Some(stored.generation), ..wish };
    // What a caller has already is no answer to this.
    hand_out(&gateway, &caller, stored, wish, &HeaderMap::new()).await
}

async fn hand_out(
    gateway: &Gateway,
    caller: &Caller,
    stored: StoredToken,
    wish: TokenWish,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let (mut token, origin) = gateway.tokens.token(stored, &wish).await?;
    if origin == TokenOrigin::Refreshed {
        // Key and document may be others after the wait.
        caller.require_again(gateway).await?;
        token = caller.reach(token)?;
    }
    let min_ttl = wish.demand(&token, token.lifetime().unwrap_or_default()).min_ttl;
    let mut response = answer(&token, min_ttl, headers);
    response.extensions_mut().insert(AnswerOutcome(match origin {
        TokenOrigin::Stored => "stored",
        TokenOrigin::Refreshed => "refreshed",
    }));
    Ok(response)
}

/// The one grant that a user has, as far as the key reaches.
async fn grant_of(
    gateway: &Gateway,
    caller: &Caller,
    query: &TokenQuery,
) -> Result<StoredToken, Refusal> {
    let provider = query.provider.as_deref().map(str::parse).transpose();
    let provider = provider
        .map_err(|_| Refusal::BadRequest("provider is the name of a section".to_owned()))?;
    if query.user.is_some() == query.email.is_some() {
        return Err(Refusal::BadRequest("give either user or email".to_owned()));
    }
    let (user, email) = (query.user.clone(), query.email.clone());
    let filter = GrantFilter {
        provider,
        user,
        email,
        limit: Some(CANDIDATES_MAX),
        ..GrantFilter::default()
    };
    let found: Vec<_> = gateway.store.list(filter).try_collect().await?;
    let mut reached = Vec::new();
    for view in found {
        match gateway.tokens.stored(&view.id).await.and_then(|stored| caller.reach(stored)) {
            Ok(stored) => reached.push(stored),
            Err(Refusal::NotFound) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    match reached.len() {
        0 => Err(Refusal::NotFound),
        1 => Ok(reached.remove(0)),
        _ => Err(Refusal::Ambiguous(reached.into_iter().map(|stored| stored.id).collect())),
    }
}

fn read(query: TokenQueryResult) -> Result<TokenQuery, Refusal> {
    let Query(query) = query.map_err(|error| Refusal::BadRequest(error.body_text()))?;
    Ok(query)
}
