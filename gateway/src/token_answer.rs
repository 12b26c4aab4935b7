//! A token as callers get it, with headers by which HTTP caches know how long it may be kept.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use evergrant_domain::fingerprint::fingerprint;
use evergrant_domain::{DocumentId, StoredToken};
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

/// A document's id as a path names it, and as people see it. One that would be read as another type is quoted.
pub(crate) fn path_form(id: &DocumentId) -> String {
    let text = id.to_string();
    match text.parse::<DocumentId>() {
        Ok(read) if read == *id => text,
        _ => Value::from(id.clone()).to_string(),
    }
}

/// The members of a token's answer.
pub(crate) fn members(stored: &StoredToken) -> Value {
    let time = |time: Option<evergrant_domain::Timestamp>| time.map(|time| time.to_string());
    json!({
        "access_token": stored.access_token.as_ref().map(ExposeSecret::expose_secret),
        "token_type": "Bearer",
        "expires_at": time(stored.access_expires_at),
        "expires_in": stored.left().map(|left| left.as_secs()),
        "obtained_at": time(stored.refreshed_at),
        "generation": stored.generation,
        "provider": stored.provider,
        "user_id": stored.user,
        "id": path_form(&stored.id),
    })
}

/// The answer to a caller that may keep the token while more than `min_ttl` of its life is left; `304` for one
/// that has it already.
pub(crate) fn answer(stored: &StoredToken, min_ttl: Duration, asked: &HeaderMap) -> Response {
    let tag = tag(stored);
    let left = stored.left().map(|left| left.saturating_sub(min_ttl).as_secs());
    let caching = left
        .map_or_else(|| "private, no-cache".to_owned(), |left| format!("private, max-age={left}"));
    let headers =
        [(ETAG, tag.clone()), (CACHE_CONTROL, caching), (VARY, "Authorization".to_owned())];
    if has_it(asked, &tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, axum::Json(members(stored))).into_response()
}

/// The generation, and a hash that tells apart a token that the user's new sign-in brought.
fn tag(stored: &StoredToken) -> String {
    let hash = stored.access_token.as_ref().map(fingerprint).unwrap_or_default();
    format!("\"{}-{hash}\"", stored.generation)
}

fn has_it(asked: &HeaderMap, tag: &str) -> bool {
    let lists = asked.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(','));
    tags.any(|known| known.trim().trim_start_matches("W/") == tag || known.trim() == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_an_answer_names_its_document_in_a_path() {
        for id in [
            DocumentId::ObjectId([7; 12]),
            DocumentId::String("alice".to_owned()),
            DocumentId::String("123".to_owned()),
            DocumentId::String("070707070707070707070707".to_owned()),
            DocumentId::String("a/b \"c\"".to_owned()),
            DocumentId::Integer(-5),
            DocumentId::Uuid([9; 16]),
        ] {
            assert_eq!(path_form(&id).parse(), Ok(id.clone()), "{id:?}");
        }
    }
}
